//! Signals: the first SIGTERM or SIGINT asks for a clean stop; the second one quits at once.

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that quit on a signal.
const EXIT_SIGNALLED: i32 = 130;

/// Returns a token that the first signal cancels.
pub fn stop_on_signal(runtime: &Runtime) -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    runtime.spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be caught; stopping will not be clean");
            return;
        };
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                told.cancel();
            } else {
                quit();
            }
        }
    });
    stop
}

#[expect(clippy::disallowed_methods, reason = "the second signal quits at once, whatever is under way")]
fn quit() -> ! {
    std::process::exit(EXIT_SIGNALLED)
}
