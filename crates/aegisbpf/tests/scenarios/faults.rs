//! Stops the program on a host, or lets the disk refuse it, at one chosen system call.

use test_services::faults::Traced;
pub(crate) use test_services::faults::{Fault, Point};

use crate::host::{Host, Run};

/// Runs the program on `host` and gives every point at which it changed something below its root.
pub(crate) fn points(host: &Host, arguments: &[&str]) -> Vec<Point> {
    traced(host, arguments).points()
}

/// Runs the program on `host` with a fault at a point.
pub(crate) fn run_with(host: &Host, arguments: &[&str], point: &Point, fault: Fault) -> Run {
    let test_services::faults::Run { code, stdout, stderr } = traced(host, arguments).run_with(point, fault);
    Run { code, stdout, stderr }
}

fn traced(host: &Host, arguments: &[&str]) -> Traced {
    Traced { command: host.command(arguments), trace: host.file("trace") }
}
