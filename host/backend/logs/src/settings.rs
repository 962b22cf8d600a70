//! The limits of logs, each with its default.

/// The limits of logs. All apply to each log; those of the node say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Bytes of one message after escaping; the rest is cut off and the cut is said. Default:
    /// 16 KiB.
    pub message_bytes: usize,
    /// Bytes after which a file is full and the next one begins. Default: 4 MiB.
    pub file_bytes: u64,
    /// Files kept; beyond that the oldest goes. Default: 8.
    pub files: usize,
    /// Bytes that may wait to be written; what comes on top is dropped and counted. Default: 1 MiB.
    pub queue_bytes: usize,
    /// Bytes that may wait to be written on the whole node; what comes on top is dropped and
    /// counted. Default: 64 MiB.
    pub node_queue_bytes: usize,
    /// Bytes a second that are taken in the long run; what comes on top is dropped and counted.
    /// Default: 1 MiB.
    pub bytes_per_second: u64,
    /// Bytes that are taken at once after a quiet time. Default: 8 MiB.
    pub burst_bytes: u64,
    /// Records of one page of a reading. Default: 1000.
    pub page_records: usize,
    /// Files that the node holds open for writing. Default: 128.
    pub open_files: usize,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            message_bytes: 16 << 10,
            file_bytes: 4 << 20,
            files: 8,
            queue_bytes: 1 << 20,
            node_queue_bytes: 64 << 20,
            bytes_per_second: 1 << 20,
            burst_bytes: 8 << 20,
            page_records: 1000,
            open_files: 128,
        }
    }
}

impl LogSettings {
    /// The first setting that can't work, and why.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.message_bytes < 256 {
            Some("message_bytes must be at least 256")
        } else if self.file_bytes < 4096 {
            Some("file_bytes must be at least 4096")
        } else if self.files < 2 {
            Some("files must be at least 2: the one being written and the one before")
        } else if self.page_records == 0 {
            Some("page_records must be at least 1")
        } else if self.open_files == 0 {
            Some("open_files must be at least 1")
        } else if self.bytes_per_second == 0 {
            Some("bytes_per_second must be at least 1")
        } else {
            None
        }
    }
}
