//! Resource limits of the operating system, and how they are divided: descriptors among connections, with some set
//! aside for files and for the store, and memory for a process that answers SQL.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::process::{Pid, getpriority_process, setpriority_pgrp};

/// Wait after a connection could not be accepted: by then some descriptor has been closed.
pub(super) const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Maximum number of open HTTP connections: those of 10,000 pages that wait, and some.
const HTTP_MAX: usize = 16_384;

/// Maximum number of PostgreSQL connections: several times PostgreSQL's own default. An idle one keeps its session,
/// which is functions by name and little else.
const POSTGRES_MAX: usize = 500;

/// Descriptors that a PostgreSQL connection takes: its own, that of its session's socket, and its part of a process.
const FILES_PER_POSTGRES: usize = 3;

/// Divisor of the descriptors for connections that gives the most PostgreSQL connections.
const POSTGRES_SHARE: usize = 8;

/// Descriptors for other uses than connections: files and sockets of the store that are read side by side, logs,
/// timers, and clients that are turned away.
const RESERVE: usize = 200;

/// Memory in bytes that a process needs beside that of its statements: the program, the stacks of its threads, and what
/// allocators reserve without using it.
const BESIDE_BYTES: usize = 2 << 30;

/// Factor by which a process may exceed the memory of its statements before an allocation fails: not all memory is
/// counted.
const UNCOUNTED: usize = 2;

/// OOM score adjustment of a process that answers SQL: the system ends it first when it has no memory left.
const ENDED_FIRST: &str = "1000";

/// Maximum numbers of open connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connections {
    pub http: usize,
    pub postgres: usize,
}

/// Raises this process's limit of descriptors to the most it may have: shells and supervisors start with 1,024, for
/// historical reasons.
pub fn raise_open_files() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Limits this process, which answers SQL of a key whose statements may take `memory` bytes: an allocation beyond that
/// ends it, it leaves no core dump on disk, and the system ends it first when it has no memory left.
pub fn bound_worker(memory: usize) -> io::Result<()> {
    let bytes = memory.saturating_mul(UNCOUNTED).saturating_add(BESIDE_BYTES);
    let (_, most) = getrlimit(Resource::RLIMIT_AS)?;
    let bytes = most.min(u64::try_from(bytes).unwrap_or(u64::MAX));
    setrlimit(Resource::RLIMIT_AS, bytes, bytes)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    // Without that, the server still watches the memory of its processes.
    let _ = std::fs::write("/proc/self/oom_score_adj", ENDED_FIRST);
    raise_open_files()
}

/// Sets the nice value of all threads of a process group to this process's plus `nice`.
pub(super) fn be_nicer(group: u32, nice: i32) -> io::Result<()> {
    // Zero would mean this process's own group.
    let group = i32::try_from(group).ok().filter(|group| *group > 0).and_then(Pid::from_raw);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(setpriority_pgrp(Some(group), getpriority_process(None)? + nice)?)
}

/// Returns how many connections there may be within this process's current limits.
pub(super) fn connections_max() -> Connections {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(files, _)| files);
    divided(usize::try_from(files).unwrap_or(usize::MAX))
}

/// Divides descriptors among connections.
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
