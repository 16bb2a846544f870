//! Row 12: since when.

use driftline::stats::onset::onset_of_share;
use driftline::stats::windows::WindowSum;
use fastrand::Rng;

use super::{Effort, Measured, Target};

const WINDOWS: usize = 60;
const ONSET: usize = 40;

/// Row 12.
pub(crate) fn coverage(effort: Effort) -> Vec<Measured> {
    let (runs, mut rng) = (effort.times(100), Rng::with_seed(12));
    let mut all = Vec::new();
    for drop in [0.1, 0.05, 0.02] {
        let (mut held, mut size) = (0.0, 0.0);
        for _ in 0..runs {
            let window = |at: usize| {
                let share = if at < ONSET { 0.9 } else { 0.9 - drop };
                WindowSum { sum: (0..200).filter(|_| rng.f64() < share).count() as f64, size: 200.0 }
            };
            let windows: Vec<WindowSum> = (0..WINDOWS).map(window).collect();
            let set = onset_of_share(&windows, 1.0).expect("there are windows");
            held += f64::from(u8::from(set.positions.contains(&ONSET)));
            size += set.positions.len() as f64;
        }
        let points = drop * 100.0;
        all.push(Measured::new(format!("{points:.0} points: %"), held * 100.0 / runs as f64, Target::AtLeast(95.0)));
        all.push(Measured::new(format!("{points:.0} points: windows in the set"), size / runs as f64, Target::Told));
    }
    all
}
