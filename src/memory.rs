//! How much memory there is for this process.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// What there is taken to be where the system does not tell, as without `/proc`: what small machines have.
const UNTOLD_BYTES: u64 = 2 << 30;

/// Three quarters of what the cgroup, or else the host, has: the rest is for what is on its way in and out.
pub fn three_quarters() -> usize {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    // Without what the host has, the limits of the group cannot be asked for: sysinfo panics.
    let host = Some(system.total_memory()).filter(|bytes| *bytes > 0);
    let there_is = host.map(|host| system.cgroup_limits().map_or(host, |group| group.total_memory.min(host)));
    usize::try_from(there_is.unwrap_or(UNTOLD_BYTES) / 4 * 3).unwrap_or(usize::MAX)
}
