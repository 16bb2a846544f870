//! A progress bar with rate and time left: on a terminal, and nowhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Often enough to look alive, seldom enough to cost nothing.
const REDRAWS_PER_SECOND: u8 = 8;

/// A bar over `total` things, named in plural; it goes to standard error and is hidden when that is no terminal.
pub(super) fn bar(total: u64, things: &str) -> ProgressBar {
    let template = format!("{{bar:30}} {{pos}}/{{len}} {things}, {{per_sec}}, {{eta}} left");
    styled(total, &template)
}

/// A bar over bytes of input; `total` of zero (standard input) shows what was read alone.
pub(super) fn bytes(total: u64, what: &str) -> ProgressBar {
    if total == 0 {
        return styled(0, &format!("{what} {{bytes}}, {{bytes_per_sec}}"));
    }
    styled(total, &format!("{{bar:30}} {what} {{bytes}}/{{total_bytes}}, {{bytes_per_sec}}, {{eta}} left"))
}

fn styled(total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
