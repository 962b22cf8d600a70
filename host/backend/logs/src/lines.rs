//! Reading the newest lines of a file without reading all of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The whole lines of a file, the last one first, read in blocks from the end.
pub(crate) struct LinesFromEnd {
    file: File,
    whole: u64,
    /// Bytes before `block` that are still to be read.
    left: u64,
    block: Vec<u8>,
}

impl LinesFromEnd {
    const BLOCK: u64 = 64 << 10;

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let left = file.metadata()?.len();
        let mut lines = Self {
            file,
            whole: 0,
            left,
            block: Vec::new(),
        };
        while !lines.block.contains(&b'\n') && lines.left > 0 {
            lines.read_block()?;
        }
        let whole = lines
            .block
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        lines.block.truncate(whole);
        lines.whole = lines.left + whole as u64;
        Ok(lines)
    }

    /// Where the last whole line ends: what follows was being written when the process or the
    /// machine stopped, or is being written now.
    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    /// The line before the one given last, without its end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(end) = self.block.len().checked_sub(1) else {
                if self.left == 0 {
                    return Ok(None);
                }
                self.read_block()?;
                continue;
            };
            if let Some(before) = self.block[..end].iter().rposition(|byte| *byte == b'\n') {
                let mut line = self.block.split_off(before + 1);
                line.pop();
                return Ok(Some(line));
            }
            if self.left == 0 {
                let mut line = std::mem::take(&mut self.block);
                line.pop();
                return Ok(Some(line));
            }
            self.read_block()?;
        }
    }

    fn read_block(&mut self) -> io::Result<()> {
        let size = self.left.min(Self::BLOCK);
        self.left -= size;
        self.file.seek(SeekFrom::Start(self.left))?;
        let mut block = Vec::new();
        (&self.file).take(size).read_to_end(&mut block)?;
        block.append(&mut self.block);
        self.block = block;
        Ok(())
    }
}
