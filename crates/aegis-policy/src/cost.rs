//! Counts the bytes that parsing looks at, so that a test can tell linear from quadratic without a clock.
//!
//! Outside tests it counts nothing and costs nothing.

#[cfg(test)]
thread_local! {
    static BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Says that so many bytes are looked at.
#[inline(always)]
pub(crate) fn looked_at(bytes: usize) {
    #[cfg(test)]
    BYTES.set(BYTES.get() + bytes);
    #[cfg(not(test))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Limits, parse};
    use crate::section::Section;

    fn cost(source: &[u8]) -> usize {
        BYTES.set(0);
        let _ = parse(source, &Limits::default());
        BYTES.get()
    }

    const SIZE: usize = 2_000;

    /// What a hostile file repeats.
    const LINES: &[&[u8]] = &[
        b"\n",
        b" \n",
        b" ",
        b"\t",
        b"\r\n",
        b"\r",
        b"#\n",
        b"#",
        b" #",
        b"# \xc3\xa9\n",
        b"# \xff\n",
        b"\0",
        b"\0\n",
        b"x",
        b"x\n",
        b"/",
        b"/a\n",
        b"/a \n",
        b" /a\n",
        b"/a#",
        b"/a #\n",
        b"/#\n",
        b"[",
        b"]",
        b"[]\n",
        b"[x]\n",
        b"[deny_path]\n",
        b"[deny_bpf]\n",
        b"version=1\n",
        b"version=9\n",
        b"1:",
        b"::",
        b"1:1\n",
        b"9",
        b"9\n",
        b"1.1.1.1",
        b"1.1.1.1\n",
        b"1.1.1.1:1\n",
        b"[::1]:1\n",
        b"[::1]:1 ",
        b"cgid:1 ",
        b"cgid:1 1:1\n",
        b"/x ",
        b"sha256:",
        b"1.1.1.1/1\n",
        b"::/64\n",
        b"\xef\xbb\xbf",
        b"\xe2\x80\xae\n",
        b"\xc3\xa9",
    ];

    #[test]
    fn twice_the_bytes_cost_twice_the_work_whatever_they_are() {
        for section in Section::ALL.map(Some).into_iter().chain([None]) {
            let head = section.map_or(String::new(), |section| format!("version=6\n[{section}]\n"));
            for line in LINES {
                let of = |size: usize| {
                    let mut source = head.clone().into_bytes();
                    source.extend(line.iter().copied().cycle().take(size));
                    cost(&source)
                };
                let (once, twice) = (of(SIZE), of(2 * SIZE));
                let name = line.escape_ascii();
                assert!(twice <= once * 2 + 10_000, "{head}{name}: {once}, {twice}");
                // A line of two bytes can cost a look at the 64 that follow.
                assert!(once <= SIZE * 80, "{head}{name}: {once} for {SIZE} bytes");
                assert!(once >= SIZE, "{head}{name}: {once} is less than all of them");
            }
        }
    }
}
