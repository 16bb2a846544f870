//! What was promised against what is measured, and beside it what others' rules do on the same streams:
//! `cargo bench --bench targets -- [ROW…] [--quick | --long]`.
//!
//! Everything is seeded: the same command prints the same numbers. The quick version is among the tests.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a bench prints, and fails by panicking")]

#[path = "targets/mod.rs"]
mod targets;

use targets::{Effort, Measured, ROWS};

/// Rows that other commands measure: times want a machine to themselves, and reference values are tests.
const ELSEWHERE: [(u8, &str); 2] = [
    (13, "what a check costs and an hour takes: cargo bench --bench check; beside Evidently: benches/check.py"),
    (14, "reference values: cargo test --lib stats::vectors, which lists those not used with a reason each"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let effort = match (has("--quick"), has("--long")) {
        (true, _) => Effort::Quick,
        (_, true) => Effort::Long,
        _ => Effort::Usual,
    };
    let numbers = arguments.iter().filter(|argument| !argument.starts_with("--"));
    let rows: Vec<u8> = numbers.map(|number| number.parse().expect("ROW is a whole number")).collect();
    let mut missed = 0;
    for row in ROWS.iter().filter(|row| rows.is_empty() || rows.contains(&row.number)) {
        println!("\n{}. {}", row.number, row.promise);
        for measured in (row.measure)(effort) {
            missed += usize::from(!measured.is_met());
            print(&measured);
        }
    }
    for (number, elsewhere) in ELSEWHERE {
        if rows.is_empty() || rows.contains(&number) {
            println!("\n{number}. {elsewhere}");
        }
    }
    println!("\n{missed} targets missed");
}

fn print(measured: &Measured) {
    let verdict = if measured.is_met() { "" } else { "  MISSED" };
    println!("   {:<75} {:>16}  {}{verdict}", measured.what, measured.shown(), measured.target);
}
