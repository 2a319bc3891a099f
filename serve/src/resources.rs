//! What the operating system lets a process have, and how it is divided: descriptors among connections, of which some
//! stay for files and for the store, and memory for a process that answers SQL.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::process::{Pid, getpriority_process, setpriority_pgrp};

/// HTTP connections that are open at once: those of 10,000 pages that wait, and some.
const HTTP_MAX: usize = 16_384;

/// PostgreSQL connections at once: some times what PostgreSQL itself serves unless it is told otherwise. One that is
/// idle keeps its session, which is functions by name and little else.
const POSTGRES_MAX: usize = 500;

/// Descriptors that a PostgreSQL connection takes: its own, that of whoever answers it, and its part of a process.
const FILES_PER_POSTGRES: usize = 3;

/// The part of all connections that PostgreSQL's may be.
const POSTGRES_SHARE: usize = 8;

/// Descriptors that are no connections': files and sockets of the store that are read side by side, logs, timers, and
/// clients that are turned away.
const RESERVE: usize = 200;

/// What a process needs beside what its statements take: the program, the stacks of its threads, and what allocators
/// set aside without using it.
const BESIDE_BYTES: usize = 2 << 30;

/// How much more than its statements are told to take a process may, before an allocation fails: not all is counted.
const UNCOUNTED: usize = 2;

/// How willingly the system ends a process when it has no memory left: as willingly as any.
const ENDED_FIRST: &str = "1000";

/// Connections at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connections {
    pub http: usize,
    pub postgres: usize,
}

/// Lets this process have as many descriptors as it may: shells and supervisors begin with 1,024, of old.
pub fn raise_open_files() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Bounds this process as one that answers SQL of a key, whose statements may take so much memory, in bytes: an
/// allocation beyond ends it, nothing of it is left on a disk, and where the system has no memory left, it goes first.
pub fn bound_worker(memory: usize) -> io::Result<()> {
    let bytes = memory.saturating_mul(UNCOUNTED).saturating_add(BESIDE_BYTES);
    let (_, most) = getrlimit(Resource::RLIMIT_AS)?;
    let bytes = most.min(u64::try_from(bytes).unwrap_or(u64::MAX));
    setrlimit(Resource::RLIMIT_AS, bytes, bytes)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Where that cannot be said, the server still looks at what its processes take.
    let _ = std::fs::write("/proc/self/oom_score_adj", ENDED_FIRST);
    raise_open_files()
}

/// Makes all threads of a process, which is a group of its own, so much nicer than this one is.
pub(super) fn be_nicer(group: u32, nice: i32) -> io::Result<()> {
    // No number would be this process's own group.
    let group = i32::try_from(group).ok().filter(|group| *group > 0).and_then(Pid::from_raw);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(setpriority_pgrp(Some(group), getpriority_process(None)? + nice)?)
}

/// How many connections there may be, as this process is limited now.
pub(super) fn connections_max() -> Connections {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(files, _)| files);
    divided(usize::try_from(files).unwrap_or(usize::MAX))
}

/// How many connections so many descriptors are for.
fn divided(files: usize) -> Connections {
    let left = files - RESERVE.min(files / 2);
    let postgres = POSTGRES_MAX.min(left / POSTGRES_SHARE).max(1);
    Connections { http: HTTP_MAX.min(left.saturating_sub(postgres * FILES_PER_POSTGRES)).max(1), postgres }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_what_they_ask() {
        assert_eq!(divided(1_048_576), Connections { http: HTTP_MAX, postgres: POSTGRES_MAX });
        for files in [64, 200, 256, 1_024, 4_096, 20_000, 100_000] {
            let Connections { http, postgres } = divided(files);
            let left = files - http - postgres * FILES_PER_POSTGRES;
            assert!(left >= RESERVE.min(files / 2), "{files}: {left} are left");
            assert!(http >= files / 5 || http == HTTP_MAX, "{files}: {http}");
        }
    }
}
