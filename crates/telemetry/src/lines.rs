//! Log lines on their way to standard output.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait for the reader of standard output. Beyond, lines are lost rather than requests held up: a reader
/// that stalls must not stall the service.
const MAX_BUFFERED_LINES: usize = 16_384;

/// The guard itself waits no longer for its worker.
const END_LIMIT: Duration = Duration::from_millis(1200);

/// The thread that writes lines to one output.
#[derive(Debug)]
pub(super) struct Lines {
    worker: WorkerGuard,
    lost: LostLines,
}

/// How many lines of an output were lost.
#[derive(Debug, Clone)]
pub(super) struct LostLines {
    unheard: ErrorCounter,
    refused: Arc<AtomicU64>,
}

impl LostLines {
    pub(super) fn count(&self) -> u64 {
        self.unheard.dropped_lines() as u64 + self.refused.load(Ordering::Relaxed)
    }
}

impl Lines {
    /// Lines are given to the writer, which never waits.
    pub(super) fn to(output: impl Write + Send + 'static) -> (NonBlocking, Self) {
        let refused = Arc::<AtomicU64>::default();
        let output = Counted {
            output,
            refused: Arc::clone(&refused),
        };
        let (writer, worker) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(MAX_BUFFERED_LINES)
            .finish(output);
        let lost = LostLines {
            unheard: writer.error_counter(),
            refused,
        };
        (writer, Self { worker, lost })
    }

    pub(super) fn lost(&self) -> LostLines {
        self.lost.clone()
    }

    /// Writes what is still buffered; gives up after `limit`, or a little more than a second.
    pub(super) fn end(self, limit: Duration) {
        let (done, over) = mpsc::channel();
        // Without a reader, the guard's end waits for the lock of standard output, which the worker holds while it
        // waits for a reader. So it gets a thread that can be left behind; if there is none, nothing ends it here.
        let worker = ManuallyDrop::new(self.worker);
        let _ = thread::Builder::new().name("log-end".to_owned()).spawn(move || {
            drop(ManuallyDrop::into_inner(worker));
            let _ = done.send(());
        });
        let _ = over.recv_timeout(limit.min(END_LIMIT));
    }
}

/// An output that counts the lines which it does not take: a full disk, a reader who has gone.
struct Counted<W> {
    output: W,
    refused: Arc<AtomicU64>,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    // The worker gives each line in one piece.
    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        self.output.write_all(line).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn lines_that_the_output_refuses_are_counted() {
        // Like a file on a disk without room.
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (mut writer, lines) = Lines::to(full);
        let metrics = Metrics::local();
        metrics.count_lost_lines(lines.lost());
        for _ in 0..3 {
            writer.write_all(b"a line\n").unwrap();
        }
        lines.end(Duration::from_secs(60));
        let reported = metrics.scrape().unwrap();
        let line = "acs_broker_telemetry_dropped_total{acs_broker_signal=\"logs\"} 3";
        assert!(reported.lines().any(|reported| reported == line), "{reported}");
    }
}
