//! SIGTERM and SIGINT: the first one ends the reading, the second one the program.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aegis_telemetry::inlet::Stop;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What may be needed beyond the time for draining: the last acknowledgements, threads that end.
const GRACE: Duration = Duration::from_secs(15);

/// Sets `stop` with the first signal. With the second, or if it takes far longer than `drain_timeout`, the process ends.
pub(super) fn watch(stop: Arc<Stop>, drain_timeout: Duration) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new().name("aegis-signals".to_owned()).spawn(move || {
        let is_draining = Arc::new(AtomicBool::new(false));
        for _ in &mut signals {
            if is_draining.swap(true, Ordering::SeqCst) {
                end("ended by a second signal");
            }
            stop.set();
            let waiting = std::thread::Builder::new().name("aegis-patience".to_owned()).spawn(move || {
                std::thread::sleep(drain_timeout + GRACE);
                end("did not end in time");
            });
            if let Err(error) = waiting {
                // Then only a second signal ends what does not end by itself.
                let _ = writeln!(io::stderr(), "warning: cannot watch the time: {error}");
            }
        }
    })?;
    Ok(())
}

fn end(why: &str) -> ! {
    // There is nowhere left to say that standard error cannot be written.
    let _ = writeln!(
        io::stderr(),
        "error: the pipeline {why}\n  because: not all events are settled; what is spooled stays\n  help: start it again; a \
         file and a NATS consumer give again what was not acknowledged"
    );
    std::process::exit(1)
}
