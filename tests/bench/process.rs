//! CPU time and memory of this process, and of its child processes: read from /proc.

/// Ticks a second in the kernel's accounting, on every Linux that Rust supports.
const TICKS_A_SECOND: f64 = 100.0;

/// CPU seconds of this process so far, user and system.
pub fn cpu_seconds() -> f64 {
    ticks("self", 11) + ticks("self", 12)
}

/// CPU seconds of a running process so far.
pub fn cpu_seconds_of(process: u32) -> f64 {
    let process = process.to_string();
    ticks(&process, 11) + ticks(&process, 12)
}

/// CPU seconds of the child processes that ended so far.
pub fn cpu_seconds_of_children() -> f64 {
    ticks("self", 13) + ticks("self", 14)
}

/// A field of a process's /proc/…/stat, counted from behind the name of the program.
fn ticks(process: &str, field: usize) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("the name ends");
    let ticks: f64 = fields.split(' ').nth(field).and_then(|field| field.parse().ok()).expect("a number");
    ticks / TICKS_A_SECOND
}

/// The memory that this process holds now, in MB.
pub fn memory_mb() -> f64 {
    memory_mb_of(std::process::id())
}

/// The memory that a running process holds now, in MB.
pub fn memory_mb_of(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a field of it");
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    (kilobytes / 1024.0).round()
}

/// The most memory that a running process has held so far, in MB; `None` once it has ended.
pub fn peak_memory_mb(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes / 1024.0)
}
