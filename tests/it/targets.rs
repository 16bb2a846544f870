//! The quick version of `cargo bench --bench targets`.

#[expect(clippy::expect_used, reason = "a measurement fails by panicking")]
#[expect(dead_code, reason = "the bench makes more effort")]
#[path = "../../benches/targets/mod.rs"]
mod simulated;

use simulated::{Effort, ROWS};

#[test]
fn every_target_is_met() {
    let missed: Vec<String> = ROWS
        .iter()
        .flat_map(|row| (row.measure)(Effort::Quick).into_iter().map(move |measured| (row, measured)))
        .filter(|(_, measured)| !measured.is_met())
        .map(|(row, measured)| {
            let number = row.number;
            format!(
                "row {number} ({}): {} is {}, not {}",
                row.promise,
                measured.what,
                measured.shown(),
                measured.target
            )
        })
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
