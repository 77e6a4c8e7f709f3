//! The resources that a container uses, read from the engine's statistics.

use bollard::models::{ContainerBlkioStats, ContainerMemoryStats, ContainerStatsResponse};

use crate::domain::container::Usage;

/// The part of the page cache that the kernel drops first, under cgroup v2 and v1. `docker stats`
/// leaves it out, too.
const INACTIVE_FILE: [&str; 2] = ["inactive_file", "total_inactive_file"];
const NANOS_PER_MILLI: u64 = 1_000_000;

/// Returns the usage in one sample. `None` for a container that does not run: its counters are
/// missing.
pub(super) fn usage(stats: ContainerStatsResponse) -> Option<Usage> {
    let cpu = stats.cpu_stats?.cpu_usage?.total_usage.filter(|nanos| *nanos > 0)?;
    let networks = stats.networks.unwrap_or_default();
    let io = stats.blkio_stats.unwrap_or_default();
    Some(Usage {
        memory_peak_bytes: stats.memory_stats.map_or(0, |memory| in_use(&memory)),
        cpu_ms: cpu / NANOS_PER_MILLI,
        block_read_bytes: bytes(&io, "read"),
        block_write_bytes: bytes(&io, "write"),
        network_rx_bytes: networks.values().filter_map(|one| one.rx_bytes).sum(),
        network_tx_bytes: networks.values().filter_map(|one| one.tx_bytes).sum(),
        samples: 1,
    })
}

fn in_use(memory: &ContainerMemoryStats) -> u64 {
    let details = memory.stats.as_ref();
    let cache = INACTIVE_FILE.iter().find_map(|name| details?.get(*name)).copied().unwrap_or(0);
    memory.usage.unwrap_or(0).saturating_sub(cache)
}

fn bytes(io: &ContainerBlkioStats, operation: &str) -> u64 {
    let rows = io.io_service_bytes_recursive.iter().flatten();
    let of_operation = rows
        .filter(|row| row.op.as_deref().is_some_and(|word| word.eq_ignore_ascii_case(operation)));
    of_operation.filter_map(|row| row.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_leaves_out_the_droppable_cache() {
        let stats = serde_json::json!({
            "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000_u64}},
            "memory_stats": {"usage": 10_000, "stats": {"inactive_file": 4_000}},
            "networks": {"eth0": {"rx_bytes": 7, "tx_bytes": 8}, "eth1": {"rx_bytes": 1}},
            "blkio_stats": {"io_service_bytes_recursive": [
                {"major": 8, "minor": 0, "op": "read", "value": 512},
                {"major": 8, "minor": 0, "op": "Write", "value": 1024}]}});
        let usage = usage(serde_json::from_value(stats).expect("statistics"));
        let expected = Usage {
            memory_peak_bytes: 6_000,
            cpu_ms: 2_500,
            block_read_bytes: 512,
            block_write_bytes: 1_024,
            network_rx_bytes: 8,
            network_tx_bytes: 8,
            samples: 1,
        };
        assert_eq!(usage, Some(expected));
    }

    #[test]
    fn ended_container_gives_no_sample() {
        let empty = serde_json::json!({"cpu_stats": {"cpu_usage": {"total_usage": 0}}});
        assert_eq!(usage(serde_json::from_value(empty).expect("statistics")), None);
        assert_eq!(usage(ContainerStatsResponse::default()), None);
    }
}
