//! The disk under an embedded store: whether it has room, and who may write and read there.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::doctor::{Check, existing_folder};

const MIB: u64 = 1024;
/// Free space in KiB below which someone should look, and below which nothing goes on.
const LITTLE: u64 = 2048 * MIB;
const TOO_LITTLE: u64 = 200 * MIB;
/// Permissions of anyone but the owner.
const OTHERS: u32 = 0o077;

/// Looks at the folder of a store's file, and at the file if it is there.
pub(super) fn examine(path: &Path) -> Vec<Check> {
    let Ok(folder) = existing_folder(path) else {
        return vec![Check::fail("disk", "no folder above the store exists", "check store.url")];
    };
    vec![space(free_kib(&folder)), writable(&folder), privacy(path)]
}

fn space(free_kib: Option<u64>) -> Check {
    let Some(free) = free_kib else {
        return Check::warn("disk", "its free space cannot be told", "look at df yourself");
    };
    let (finding, remedy) = (format!("{} MiB are free", free / MIB), "make room, or lower retention.traces");
    match free {
        ..TOO_LITTLE => Check::fail("disk", finding, remedy),
        TOO_LITTLE..LITTLE => Check::warn("disk", finding, remedy),
        LITTLE.. => Check::ok("disk", finding),
    }
}

/// What `df` says in its POSIX format: the fourth column of the second line.
fn free_kib(folder: &Path) -> Option<u64> {
    let output = Command::new("df").args(["-P", "-k"]).arg(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().nth(1)?.split_whitespace().rev().nth(2)?.parse().ok()
}

/// A file made and removed tells more than permission bits: of containers, quotas and read-only mounts too.
fn writable(folder: &Path) -> Check {
    let probe = folder.join(format!(".driftline-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => Check::ok("permissions", format!("{} can be written to", folder.display())),
        Err(error) => {
            let finding = format!("{} cannot be written to: {error}", folder.display());
            Check::fail("permissions", finding, "run as the owner of the folder, or give it to this user")
        }
    }
}

fn privacy(store: &Path) -> Check {
    let mode = std::fs::metadata(store).map(|file| file.permissions().mode());
    match mode {
        Ok(mode) if mode & OTHERS != 0 => {
            let finding = format!("other users of this machine can open {} (mode {:o})", store.display(), mode & 0o777);
            Check::warn("privacy", finding, "it holds what users wrote: chmod 600, and start with umask 077")
        }
        _ => Check::ok("privacy", "no other user of this machine can open the store"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::doctor::Health;
    use super::*;

    #[test]
    fn a_disk_with_little_room_is_told_and_one_with_none_fails() {
        let healths = [LITTLE, LITTLE - 1, TOO_LITTLE - 1].map(|free| space(Some(free)).health);
        assert_eq!(healths, [Health::Ok, Health::Warn, Health::Fail]);
        assert!(free_kib(Path::new("/")).is_some_and(|free| free > 0));
    }

    #[test]
    fn a_store_that_others_can_open_is_told_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("driftline.db");
        std::fs::write(&store, b"").unwrap();
        for (mode, health) in [(0o600, Health::Ok), (0o640, Health::Warn)] {
            std::fs::set_permissions(&store, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(examine(&store)[2].health, health, "{mode:o}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
