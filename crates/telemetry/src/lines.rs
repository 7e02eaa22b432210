//! Log lines on their way to standard output.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use super::filter::AUDIT_TARGET;
use super::metrics::Metrics;

/// Lines that wait for the reader of standard output. Beyond, lines are lost rather than requests held up: a reader
/// that stalls must not stall the service.
const MAX_BUFFERED_LINES: usize = 16_384;

/// The guard itself waits no longer for its worker.
const END_LIMIT: Duration = Duration::from_millis(1200);

/// The thread that writes lines to one output.
#[derive(Debug)]
struct Lines {
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
    fn to(output: impl Write + Send + 'static) -> (NonBlocking, Self) {
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

    /// Writes what is still buffered. What is given hangs up, or says so, once that is done.
    fn end(self) -> mpsc::Receiver<()> {
        let (done, over) = mpsc::channel();
        // Without a reader, the guard's end waits for the lock of standard output, which the worker holds while it
        // waits for a reader. So it gets a thread that can be left behind; if there is none, nothing ends it here.
        let worker = ManuallyDrop::new(self.worker);
        let _ = thread::Builder::new().name("log-end".to_owned()).spawn(move || {
            drop(ManuallyDrop::into_inner(worker));
            let _ = done.send(());
        });
        over
    }
}

/// Where lines go by what they are: audit events wait in a buffer of their own, so that no number of other lines makes
/// them lost.
#[derive(Debug, Clone)]
pub(super) struct Writers {
    other: NonBlocking,
    audit: NonBlocking,
}

impl<'w> MakeWriter<'w> for Writers {
    type Writer = NonBlocking;

    fn make_writer(&'w self) -> NonBlocking {
        self.other.clone()
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> NonBlocking {
        if metadata.target() == AUDIT_TARGET {
            self.audit.clone()
        } else {
            self.other.clone()
        }
    }
}

/// The threads that write all lines to one output.
#[derive(Debug)]
pub(super) struct AllLines {
    other: Lines,
    audit: Lines,
}

impl AllLines {
    /// `output` gives the same output twice. It must take a whole line at once (`write_all`), since two threads write to it.
    pub(super) fn to<W: Write + Send + 'static>(output: impl Fn() -> W) -> (Writers, Self) {
        let (other, other_lines) = Lines::to(output());
        let (audit, audit_lines) = Lines::to(output());
        let lines = Self {
            other: other_lines,
            audit: audit_lines,
        };
        (Writers { other, audit }, lines)
    }

    /// How many audit events and how many other lines were lost is counted in `metrics`.
    pub(super) fn count_in(&self, metrics: &Metrics) {
        metrics.count_lost_lines(self.other.lost.clone(), self.audit.lost.clone());
    }

    /// Writes what is still buffered; gives up after `limit`, or a little more than a second.
    #[expect(
        clippy::disallowed_methods,
        reason = "bounds real waiting, whatever a test's clock says"
    )]
    pub(super) fn end(self, limit: Duration) {
        // Both at once: they wait for the same reader.
        let ends = [self.audit.end(), self.other.end()];
        let deadline = Instant::now() + limit.min(END_LIMIT);
        for over in ends {
            let _ = over.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
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
    use std::sync::Mutex;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn count(metrics: &Metrics, signal: &str) -> u64 {
        let name = format!("acs_broker_telemetry_dropped_total{{acs_broker_signal=\"{signal}\"}} ");
        let reported = metrics.scrape().unwrap();
        let value = reported.lines().find_map(|line| line.strip_prefix(&name));
        value.unwrap().parse().unwrap()
    }

    #[test]
    fn lines_that_the_output_refuses_are_counted() {
        // Like a file on a disk without room.
        let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (mut writers, lines) = AllLines::to(full);
        let metrics = Metrics::local();
        lines.count_in(&metrics);
        for _ in 0..3 {
            writers.other.write_all(b"a line\n").unwrap();
        }
        writers.audit.write_all(b"an event\n").unwrap();
        lines.end(LIMIT);
        assert_eq!((count(&metrics, "logs"), count(&metrics, "audit")), (3, 1));
    }

    /// An output whose reader is stalled until the lock is free.
    #[derive(Clone, Default)]
    struct Stalled(Arc<Mutex<Vec<u8>>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_number_of_other_lines_pushes_out_an_audit_event() {
        let output = Stalled::default();
        let (mut writers, lines) = AllLines::to(|| output.clone());
        let metrics = Metrics::local();
        lines.count_in(&metrics);
        let stalled = output.0.lock().unwrap();
        for _ in 0..2 * MAX_BUFFERED_LINES {
            writers.other.write_all(b"a line\n").unwrap();
        }
        for _ in 0..40 {
            writers.audit.write_all(b"an event\n").unwrap();
        }
        drop(stalled);
        lines.end(LIMIT);
        let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().filter(|line| *line == "an event").count(), 40);
        assert_eq!(count(&metrics, "audit"), 0);
        assert!(count(&metrics, "logs") > 0);
    }
}
