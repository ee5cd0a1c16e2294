//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use super::Histogram;

/// A label and its value, or none.
type Label<'a> = Option<(&'a str, &'a str)>;

/// A text in the making.
#[derive(Default)]
pub(super) struct Exposition {
    text: String,
}

impl Exposition {
    pub(super) fn counter<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<'a>, u64)>,
    ) {
        self.family(name, help, "counter", samples);
    }

    pub(super) fn gauge<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<'a>, u64)>,
    ) {
        self.family(name, help, "gauge", samples);
    }

    pub(super) fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Label<'a>, &'a Histogram)>,
    ) {
        self.head(name, help, "histogram");
        for (label, histogram) in samples {
            let own =
                label.map(|(name, value)| format!("{name}=\"{}\",", escaped(value))).unwrap_or_default();
            let (buckets, total) = histogram.cumulative();
            for (bound, count) in buckets {
                self.line(format_args!("{name}_bucket{{{own}le=\"{bound}\"}} {count}"));
            }
            self.line(format_args!("{name}_bucket{{{own}le=\"+Inf\"}} {total}"));
            let own = labels(label);
            self.line(format_args!("{name}_sum{own} {}", histogram.sum().as_secs_f64()));
            self.line(format_args!("{name}_count{own} {total}"));
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn family<'a>(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        samples: impl IntoIterator<Item = (Label<'a>, u64)>,
    ) {
        self.head(name, help, kind);
        for (label, value) in samples {
            self.line(format_args!("{name}{} {value}", labels(label)));
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ =
            write!(self.text, "# HELP aegis_telemetry_{name} {help}\n# TYPE aegis_telemetry_{name} {kind}\n");
    }

    fn line(&mut self, rest: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "aegis_telemetry_{rest}");
    }
}

fn labels(label: Label<'_>) -> String {
    label.map(|(name, value)| format!("{{{name}=\"{}\"}}", escaped(value))).unwrap_or_default()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
