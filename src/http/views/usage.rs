//! The resources that a run used, as the API shows them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::container::Usage;

/// The resources that a run used, up to the last sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageView {
    /// The most memory in any sample, without the page cache that the kernel can drop.
    pub memory_peak_bytes: u64,
    pub cpu_seconds: f64,
    pub block_read_bytes: u64,
    pub block_write_bytes: u64,
    pub network_rx_bytes: u64,
    pub network_tx_bytes: u64,
    /// The number of samples: one after 1 s, then with growing pauses up to 10 s.
    pub samples: u32,
}

impl From<Usage> for UsageView {
    fn from(usage: Usage) -> Self {
        Self {
            memory_peak_bytes: usage.memory_peak_bytes,
            cpu_seconds: Duration::from_millis(usage.cpu_ms).as_secs_f64(),
            block_read_bytes: usage.block_read_bytes,
            block_write_bytes: usage.block_write_bytes,
            network_rx_bytes: usage.network_rx_bytes,
            network_tx_bytes: usage.network_tx_bytes,
            samples: usage.samples,
        }
    }
}
