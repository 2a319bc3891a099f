//! The memory of this process: its allocator, the stacks of its threads, and how much it may use.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

// The allocator returns memory under load that glibc's keeps: batches are made by one thread and dropped by another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Stack of a thread, in bytes: plans are walked by recursive functions, a few kilobytes for each level.
pub const STACK_BYTES: usize = 16 * 1024 * 1024;

/// Memory that is assumed where the system does not tell, as without `/proc`, in bytes: that of a small machine.
const UNTOLD_BYTES: u64 = 2 << 30;

/// Returns three quarters of the memory of the cgroup, or else of the host: the rest is for data on its way in and out.
pub fn three_quarters() -> usize {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    // Ask for the host's memory first: without it, sysinfo panics when asked for the limits of the cgroup.
    let host = Some(system.total_memory()).filter(|bytes| *bytes > 0);
    let there_is = host.map(|host| system.cgroup_limits().map_or(host, |group| group.total_memory.min(host)));
    usize::try_from(there_is.unwrap_or(UNTOLD_BYTES) / 4 * 3).unwrap_or(usize::MAX)
}
