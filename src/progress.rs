//! Shows how far a command has come that reads history: a bar on a terminal, a log line from time to time elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::ingest::replay::Meter;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use query::output::is_dumb;
use tokio::time::{Instant, sleep};
use tracing::info;

const BAR: &str = "{bar:30} {human_pos} of {human_len} clicks, {per_sec}, {eta} left";

const REDRAW: Duration = Duration::from_millis(100);

/// Time between two log lines.
const LINE: Duration = Duration::from_secs(10);

const STEPS: &str = "{bar:30} {pos} of {len} {prefix}, {msg} is next";

/// A bar for steps that take long, on a terminal.
pub struct Steps(ProgressBar);

impl Steps {
    /// Makes the bar for steps of some kind, none of which is done yet.
    pub fn of(kind: &'static str) -> Self {
        let style = ProgressStyle::with_template(STEPS).expect("a template");
        Self(bar().with_style(style).with_prefix(kind))
    }

    /// Shows how many steps are done, and which is next.
    pub fn at(&self, done: usize, of: usize, next: &impl fmt::Display) {
        self.0.set_length(of as u64);
        self.0.set_message(next.to_string());
        self.0.set_position(done as u64);
    }

    /// Takes the bar away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// Makes a bar that is drawn on a terminal only.
fn bar() -> ProgressBar {
    // A terminal that moves no cursor can draw no bar.
    let target = if is_dumb() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    ProgressBar::with_draw_target(Some(0), target)
}

/// Shows the progress of work while it goes on.
pub async fn shown<T>(meter: &Arc<Meter>, work: impl Future<Output = T>) -> T {
    let bar = bar().with_style(ProgressStyle::with_template(BAR).expect("a template"));
    let show = async {
        let mut line = Instant::now() + LINE;
        loop {
            sleep(REDRAW).await;
            let (read, in_all) = meter.rows();
            if in_all == 0 {
                continue;
            }
            bar.set_length(in_all);
            bar.set_position(read);
            if bar.is_hidden() && Instant::now() >= line {
                info!(clicks = read, of = in_all, "read");
                line = Instant::now() + LINE;
            }
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = show => unreachable!("it is shown for as long as the work takes"),
    };
    bar.finish_and_clear();
    done
}
