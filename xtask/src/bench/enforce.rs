//! What enforcement in the kernel costs: in a virtual machine whose clock counts instructions, so that figures repeat within
//! 1 % however busy the host is. They are no nanoseconds: those need hardware with BPF-LSM.
//!
//! The program is `crates/aegis-enforce/examples/in_kernel`: the same operations with nothing attached, with an empty
//! program on each hook, and with policies of up to a million rules.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::table::Table;
use super::{Effort, example};
use crate::checkout::{self, Profile};
use crate::failure::{Failure, Outcome};

/// As `vm/run-in-vm` calls them: the oldest that is supported, and the newest there is.
const KERNELS: [&str; 2] = ["6.1", "newest"];
/// An open may take so many instructions more than with nothing attached.
const MOST_OVER_NONE: u64 = 700;
/// No size of a policy may cost more than so many times what another does.
const FLAT: f64 = 1.02;

/// All rows.
pub(super) fn measure(effort: Effort, table: &mut Table) -> Outcome {
    checkout::build(Profile::Release, &["--package", "aegis-enforce", "--example", "in_kernel"])?;
    for kernel in KERNELS {
        if let Err(why) = machine(kernel, &["--prepare"], &[]) {
            println!("note: nothing is measured with kernel {kernel}: {}", why.to_string().trim());
            continue;
        }
        costs(effort, kernel, table)?;
        let measured = machine(kernel, &["--memory", "2048"], &["apply", rules(effort)])?;
        apply(effort, Some(kernel), &measured, table)?;
    }
    match program(Command::new(example("in_kernel")).args(["apply", rules(effort)])) {
        Ok(measured) => apply(effort, None, &measured, table)?,
        Err(why) => println!("note: nothing is put in force on this machine: {}", why.to_string().trim()),
    }
    Ok(())
}

/// What each operation takes, by the name of the row that the program prints.
type Measured = BTreeMap<String, u64>;

fn costs(effort: Effort, kernel: &str, table: &mut Table) -> Outcome {
    let (most, sizes): (_, &[&str]) = match effort {
        Effort::Full => ("1000000", &["10", "10000", "1000000"]),
        Effort::Quick => ("10000", &["10", "10000"]),
    };
    let memory = ["--memory", "2048"];
    let measured = machine(kernel, &memory, &["costs", most])?;
    for (operation, what) in [
        ("open", "open and close"),
        ("open-neighbour", "open and close, beside a denied name"),
        ("connect", "connect"),
        ("exec", "start of a program"),
    ] {
        let of = |case: &str| find(&measured, &format!("{operation}-{case}"));
        let (none, empty) = (of("none")?, of("empty-program")?);
        let misses = cases(&of, &[&["empty-policy"], sizes].concat())?;
        let hits = sizes.iter().map(|size| of(&format!("denied-{size}"))).collect::<Outcome<Vec<_>>>()?;
        let what = format!("{kernel}: {what}");
        table.information(&format!("{what}: instructions, nothing attached"), none.to_string());
        table.information(
            "  an empty program on each hook",
            format!("{empty} (+{})", empty.saturating_sub(none)),
        );
        let worst = misses.iter().copied().max().unwrap_or_default();
        table.information(&format!("  no rule matches: no rules, {}", sizes.join(", ")), list(&misses, none));
        table.information(&format!("  denied: {}", sizes.join(", ")), list(&hits, none));
        table.at_most("  no rule matches / an empty program", worst as f64 / empty as f64, 2.0);
        let (added, floor) = (worst.saturating_sub(none), empty.saturating_sub(none));
        table.information(
            "  what it adds / what an empty program adds",
            format!("{:.1}x", added as f64 / floor as f64),
        );
        if operation == "open" {
            table.count("  no rule matches, over nothing attached", added, MOST_OVER_NONE);
        }
        let with_rules = misses.get(1..).unwrap_or_default();
        table.at_most("  no rule matches, the largest size / the smallest", spread(with_rules), FLAT);
        table.at_most("  denied, the largest size / the smallest", spread(&hits), FLAT);
        table.at_most(
            "  the same twice: nothing attached, after it all / before",
            spread(&[none, of("none-again")?]),
            1.02,
        );
    }
    Ok(())
}

fn cases(of: &dyn Fn(&str) -> Outcome<u64>, names: &[&str]) -> Outcome<Vec<u64>> {
    names.iter().map(|name| of(name)).collect()
}

fn list(values: &[u64], none: u64) -> String {
    let each: Vec<String> = values.iter().map(|value| format!("+{}", value.saturating_sub(none))).collect();
    each.join(", ")
}

fn spread(values: &[u64]) -> f64 {
    let highest = values.iter().copied().max().unwrap_or_default();
    let lowest = values.iter().copied().min().unwrap_or_default();
    highest as f64 / lowest as f64
}

fn rules(effort: Effort) -> &'static str {
    if effort == Effort::Full { "100000" } else { "20000" }
}

/// A policy put in force, beside the bare filling of the same maps: by the instructions of this program in a machine, by
/// its processor time on this one, where control groups get the policy. The target is of rates, and so of time.
fn apply(effort: Effort, kernel: Option<&str>, measured: &Measured, table: &mut Table) -> Outcome {
    let place = kernel.unwrap_or("this machine");
    for (kind, section) in [
        ("ip", "deny_ip"),
        ("inode", "deny_inode"),
        ("hash", "deny_binary_hash"),
        ("mix", "deny_inode, deny_ip and deny_binary_hash"),
        ("cidr", "deny_cidr"),
        ("path", "deny_path"),
    ] {
        let of = |what: &str| find(measured, &format!("{kind}-{what}"));
        let (bare, parse, compile, swap) = (of("bare")?, of("parse")?, of("compile")?, of("swap")?);
        let mut row = |floor: u64, said: &str| {
            let what = format!("{place}: {} rules of {section}: in force / {said}", rules(effort));
            let rate = floor as f64 / (parse + compile + swap) as f64;
            match kernel {
                None => table.at_least_times(&what, rate, 0.8),
                Some(_) => table.information(&what, format!("{rate:.2}x")),
            }
        };
        if kind == "path" {
            // Which file a path names only the file system knows.
            row(bare + of("looks")?, "bare updates and one statx a path");
        } else {
            row(bare, "bare updates");
        }
        let each = |value: u64| value as f64 / bare as f64;
        table.information(
            "  parse, compile, swap, in bare updates",
            format!("{:.2}, {:.2}, {:.2}", each(parse), each(compile), each(swap)),
        );
    }
    Ok(())
}

fn find(measured: &Measured, name: &str) -> Outcome<u64> {
    measured.get(name).copied().ok_or_else(|| Failure::new(format!("nothing was measured of {name}")))
}

/// Starts a machine with the program in it, and reads what it prints.
fn machine(kernel: &str, options: &[&str], arguments: &[&str]) -> Outcome<Measured> {
    let in_kernel: PathBuf = example("in_kernel");
    let mut command = Command::new("bash");
    command.arg(checkout::root().join("vm/run-in-vm")).args(["--offline", "--icount", "--kernel", kernel]);
    command.args(["--timeout", "1800"]).args(options);
    if !arguments.is_empty() {
        command.arg("--file").arg(format!("{}:/t/in_kernel", in_kernel.display()));
        command.arg("--").arg("/t/in_kernel").args(arguments);
    }
    program(&mut command)
}

/// Runs the program, and reads what it prints.
fn program(command: &mut Command) -> Outcome<Measured> {
    let output = command.stdin(Stdio::null()).output().map_err(Failure::of("run the program"))?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = |line: &str| -> Option<(String, u64)> {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    Ok(printed.lines().filter_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_largest_over_the_smallest() {
        assert!((spread(&[100, 102, 98]) - 102.0 / 98.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_measured_is_said() {
        assert!(find(&Measured::new(), "open-none").is_err());
    }
}
