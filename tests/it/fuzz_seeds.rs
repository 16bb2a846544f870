//! The fuzzer's checks on the fuzzer's seeds, so that both are held to the code that they are about.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, clippy::expect_used, reason = "a crate of its own, which is outside of this one")]
mod fuzz;

#[test]
fn every_target_has_seeds_and_holds_on_them() {
    let folders = fs::read_dir("fuzz/seeds").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders.collect::<BTreeSet<_>>(), targets);
    for (name, check) in fuzz::TARGETS {
        assert!(Path::new(&format!("fuzz/fuzz_targets/{name}.rs")).is_file());
        for seed in fs::read_dir(format!("fuzz/seeds/{name}")).unwrap() {
            check(&fs::read(seed.unwrap().path()).unwrap());
        }
    }
}
