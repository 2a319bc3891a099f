//! How much memory there is for this process.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Three quarters of what the cgroup, or else the host, has: the rest is for what is on its way in and out.
pub fn three_quarters() -> usize {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    let group = system.cgroup_limits().map(|limits| limits.total_memory);
    let there_is = group.into_iter().chain([system.total_memory()]).min().unwrap_or(u64::MAX);
    usize::try_from(there_is / 4 * 3).unwrap_or(usize::MAX)
}
