//! The gauges of the server's own process, as the system counts them.

use super::gauges::Gauges;

/// Adds the families `process_*`. Adds nothing where the system does not tell, such as outside of
/// Linux.
#[cfg(target_os = "linux")]
pub fn add_process(gauges: &mut Gauges) {
    let Ok(process) = procfs::process::Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let float = |number: u64| number as f64;
        let ticks = float(procfs::ticks_per_second());
        gauges.set_counter("process_cpu_seconds_total", float(stat.utime + stat.stime) / ticks);
        let resident = stat.rss.saturating_mul(procfs::page_size());
        gauges.set("process_resident_memory_bytes", &[], float(resident));
        gauges.set("process_virtual_memory_bytes", &[], float(stat.vsize));
        if let Ok(boot) = procfs::boot_time_secs() {
            let started = float(boot) + float(stat.starttime) / ticks;
            gauges.set("process_start_time_seconds", &[], started);
        }
    }
    if let Ok(open) = process.fd_count() {
        let open = u32::try_from(open).unwrap_or(u32::MAX);
        gauges.set("process_open_fds", &[], f64::from(open));
    }
    if let Ok(limits) = process.limits() {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let most = match limits.max_open_files.soft_limit {
            procfs::process::LimitValue::Value(most) => most as f64,
            procfs::process::LimitValue::Unlimited => f64::INFINITY,
        };
        gauges.set("process_max_fds", &[], most);
    }
}

/// Adds nothing: this system has no `/proc`.
#[cfg(not(target_os = "linux"))]
pub fn add_process(_: &mut Gauges) {}
