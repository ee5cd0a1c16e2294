//! `--max-event-size SIZE`: the longest event that is read.

use clap::Args;

/// More than that is no event any more, and memory grows with it.
const MAX: usize = 256 << 20;
const MIN: usize = 1 << 10;

// (A doc comment would become the help of the commands.)
#[derive(Args)]
pub(crate) struct EventSizeArgument {
    /// Take events of up to SIZE (4MiB; sealed ones 8MiB), and up to 4 times as much memory
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_event_size: Option<usize>,
}

impl EventSizeArgument {
    /// What was said, or else this.
    pub(super) fn or(&self, usual: usize) -> usize {
        self.max_event_size.unwrap_or(usual)
    }
}

/// What helps if an event is longer.
pub(super) fn help_of_longer() -> String {
    "split it, or take longer ones: `--max-event-size SIZE`, up to 256MiB".to_owned()
}

/// `16MiB`, or a number of bytes.
fn size(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
    let unit = match unit {
        "" | "B" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        _ => None,
    };
    let number = number.parse::<usize>().ok();
    let bytes = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    bytes
        .filter(|bytes| (MIN..=MAX).contains(bytes))
        .ok_or_else(|| "expected a size from 1KiB to 256MiB, such as 16MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_with_and_without_a_unit() {
        let cases =
            [("1024", 1024), ("1KiB", 1024), ("5000B", 5000), ("16MiB", 16 << 20), ("256MiB", 256 << 20)];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_size_or_none_of_an_event() {
        for text in [
            "",
            "MiB",
            "1023",
            "0",
            "257MiB",
            "268435457",
            "1MB",
            "1mib",
            "1 MiB",
            "1.5MiB",
            "-1MiB",
            "+1MiB",
            "1GiB",
            "99999999999999999999MiB",
            "18014398509481984KiB",
            "0x1000",
            "٣MiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
