//! What was measured beside what was aimed for.

use std::time::Duration;

use crate::failure::{Failure, Outcome};

/// The result of a benchmark, a line a figure.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    measured: String,
    target: String,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Miss,
    /// For the reader; there is no target.
    Information,
}

impl Table {
    /// A ratio that must not be above `most`.
    pub(crate) fn ratio(&mut self, what: &str, ours: Duration, floor: Duration, most: f64) {
        let ratio = ratio(ours, floor);
        let measured = format!("{ratio:.2}x ({} / {})", short(ours), short(floor));
        self.row(what, measured, format!("at most {most}x"), judge(ratio <= most));
    }

    /// A ratio that must not be below `least`: of rates, or of somebody else's cost to ours.
    pub(crate) fn at_least_times(&mut self, what: &str, ratio: f64, least: f64) {
        self.row(what, format!("{ratio:.2}x"), format!("at least {least}x"), judge(ratio >= least));
    }

    /// A ratio of counts that must not be above `most`.
    pub(crate) fn at_most(&mut self, what: &str, ratio: f64, most: f64) {
        self.row(what, format!("{ratio:.3}x"), format!("at most {most}x"), judge(ratio <= most));
    }

    /// Somebody else's rate, how many times that our library and our program do, and how often the library must at least.
    pub(crate) fn peer(&mut self, what: &str, rate: f64, times: f64, program_times: f64, least: Option<f64>) {
        let measured = format!("{times:.1}x ({rate:.0}/s), program {program_times:.1}x");
        match least {
            Some(least) => self.row(what, measured, format!("at least {least}x"), judge(times >= least)),
            None => self.row(what, measured, String::new(), Verdict::Information),
        }
    }

    /// A rate that must not be below `least`. It depends on the machine; ratios do not.
    pub(crate) fn at_least_per_second(&mut self, what: &str, rate: f64, least: f64) {
        self.row(what, format!("{rate:.0}/s"), format!("at least {least}/s"), judge(rate >= least));
    }

    pub(crate) fn at_most_mib(&mut self, what: &str, bytes: u64, most: f64) {
        let mib = bytes as f64 / f64::from(1 << 20);
        self.row(
            what,
            format!("{mib:.1} MiB"),
            format!("at most {most} MiB"),
            judge(bytes > 0 && mib <= most),
        );
    }

    pub(crate) fn information(&mut self, what: &str, measured: String) {
        self.row(what, measured, String::new(), Verdict::Information);
    }

    pub(crate) fn ratio_for_information(&mut self, what: &str, ours: Duration, floor: Duration) {
        let measured = format!("{:.2}x ({} / {})", ratio(ours, floor), short(ours), short(floor));
        self.row(what, measured, String::new(), Verdict::Information);
    }

    pub(crate) fn at_most_ms(&mut self, what: &str, measured: Duration, most: f64) {
        let millis = measured.as_secs_f64() * 1e3;
        self.row(what, format!("{millis:.2} ms"), format!("under {most} ms"), judge(millis < most));
    }

    /// The spread of what one rule costs at different sizes. One size alone has no spread.
    pub(crate) fn linear(&mut self, what: &str, nanos_a_rule: &[f64], most: f64) {
        let highest = nanos_a_rule.iter().copied().fold(f64::MIN, f64::max);
        let lowest = nanos_a_rule.iter().copied().fold(f64::MAX, f64::min);
        let each: Vec<String> = nanos_a_rule.iter().map(|nanos| format!("{nanos:.0}")).collect();
        if nanos_a_rule.len() < 2 {
            let measured = format!("{} ns a rule", each.join(", "));
            self.row(what, measured, String::new(), Verdict::Information);
            return;
        }
        let spread = highest / lowest;
        let measured = format!("{spread:.2}x ({} ns)", each.join(", "));
        self.row(what, measured, format!("at most {most}x"), judge(lowest > 0.0 && spread <= most));
    }

    pub(crate) fn memory(&mut self, what: &str, peak: u64, file: u64, most: Option<f64>) {
        let ratio = peak as f64 / file as f64;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let measured = format!("{ratio:.2}x ({:.1} / {:.1} MiB)", mib(peak), mib(file));
        match most {
            Some(most) => {
                self.row(what, measured, format!("at most {most}x"), judge(peak > 0 && ratio <= most));
            }
            None => self.row(what, measured, String::new(), Verdict::Information),
        }
    }

    pub(crate) fn count(&mut self, what: &str, measured: u64, most: u64) {
        self.row(
            what,
            measured.to_string(),
            format!("at most {most}"),
            judge(measured > 0 && measured <= most),
        );
    }

    fn row(&mut self, what: &str, measured: String, target: String, verdict: Verdict) {
        self.rows.push(Row { what: what.to_owned(), measured, target, verdict });
    }

    pub(crate) fn print(&self) {
        println!("\n{:<72} {:<32} {:<15} ", "what", "measured", "target");
        for row in &self.rows {
            let verdict = match row.verdict {
                Verdict::Pass => "pass",
                Verdict::Miss => "MISS",
                Verdict::Information => "",
            };
            println!("{:<72} {:<32} {:<15} {verdict}", row.what, row.measured, row.target);
        }
        println!();
    }

    /// Fails if any target was missed.
    pub(crate) fn verdict(&self) -> Outcome {
        let missed = self.rows.iter().filter(|row| row.verdict == Verdict::Miss).count();
        if missed == 0 { Ok(()) } else { Err(Failure::new(format!("{missed} of the targets missed"))) }
    }
}

fn judge(holds: bool) -> Verdict {
    if holds { Verdict::Pass } else { Verdict::Miss }
}

fn ratio(ours: Duration, floor: Duration) -> f64 {
    ours.as_secs_f64() / floor.as_secs_f64()
}

fn short(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..10.0 => format!("{:.0} ns", micros * 1e3),
        ..1000.0 => format!("{micros:.0} us"),
        _ => format!("{:.2} ms", micros / 1e3),
    }
}
