//! Law: a full disk ends no job and loses nothing. Jobs say so, wait, and go on when there is room.
//!
//! The disk is a small file system in memory, which only root may mount. For other users the same law is held in
//! simulated worlds, whose store is down for a time.

use std::path::Path;
use std::process::Command;

use localstack::produce::Load;
use tokio_util::sync::CancellationToken;

use crate::NOON_MS;
use crate::kafka::{SOON, fill};
use crate::stack::RealStack;
use crate::stack::member::{Job, Member};

/// Mount option of a disk with room for a few commits only.
const SMALL: &str = "size=1m";

/// Mount option of a disk with room for all commits.
const LARGE: &str = "size=256m";

/// A file system of its own, unmounted when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    /// Mounts a small file system; `None`, if this user may not mount any.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SMALL, "tmpfs"]).arg(folder.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn grow(&self) {
        let options = format!("remount,{LARGE}");
        let grown = Command::new("mount").args(["-o", &options]).arg(self.path()).status().expect("mount runs");
        assert!(grown.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A job that was killed may still be going.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "what is not tested must be said")]
async fn jobs_wait_until_a_full_disk_has_room() {
    let Some(disk) = Disk::mount() else {
        eprintln!("no file system can be mounted here, so no disk is full");
        return;
    };
    let (stack, topic) = (RealStack::shared(), "full-disk");
    let path = disk.path().join("lake");
    let lake = path.to_str().expect("UTF-8");
    stack.create_topic(topic, 3, &[]).await;
    fill(&stack, topic, 1, 1_000).await;
    let mut members = [Job::Ingest, Job::Aggregate].map(|job| Member::of(job, &stack, topic, lake, &[]));
    for member in &mut members {
        member.commits_more_than(0, SOON).await;
    }
    let stop = CancellationToken::new();
    let load = Load { rate: 3_000, count: None, start_ms: NOON_MS };
    let full = async {
        for member in &mut members {
            member.says("No space left on device", SOON).await;
        }
        stop.cancel();
    };
    tokio::join!(stack.produce(topic, 2, load, stop.clone()), full);
    disk.grow();
    for member in &mut members {
        let commits = member.commits();
        member.commits_more_than(commits, SOON).await;
    }
    for member in members {
        member.leaves().await;
    }
    for job in [Job::Ingest, Job::Aggregate] {
        stack.catch_up_with(job, topic, lake, &[]).await;
    }
    assert!(stack.raw_is_the_log(topic, lake).await > 1_000);
    let said = stack.minutes_are_right(lake);
    assert!(said.starts_with("equal: "), "{said}");
}
