//! The built binary as a process: what only a process has are output, signals and an exit code.

use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use azure_emulator::scenario::{CONTOSO, FABRIKAM};
use azure_emulator::{Emulator, GroupsClaim, Scenario, TokenRequest};
use base::clock::{SharedClock, SystemClock};
use tempfile::TempDir;

use super::eventually;
use super::http::{Answer, Call};
use super::stack::{assignments_toml, configuration};

/// A running process; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
    reading: Reading,
}

/// Whether standard output is read.
type Reading = Arc<(Mutex<bool>, Condvar)>;

type Output = Arc<Mutex<Vec<u8>>>;

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Lets a command run as this user, if the tests run as root, who may read everything.
pub(crate) fn as_user(command: &mut Command, user: u32) {
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(user).gid(user);
    }
}

impl Process {
    /// Starts the binary with these arguments and no other environment variables than these.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::start_writing_to(Stdio::piped(), arguments, environment)
    }

    /// The same with limits on open files, soft and hard.
    pub(crate) fn start_with_files(soft: u32, hard: u32, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let script = format!("ulimit -S -n {soft}; ulimit -H -n {hard}; exec \"$0\" \"$@\"");
        let binary = env!("CARGO_BIN_EXE_acs-token-broker");
        let arguments = ["-c", &script, binary].into_iter().chain(arguments.iter().copied());
        let command = Command::new("sh");
        Self::spawn(command, Stdio::piped(), arguments, environment)
    }

    /// The same as this user, if the tests run as root; else as their own user.
    pub(crate) fn start_as(user: u32, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acs-token-broker"));
        as_user(&mut command, user);
        Self::spawn(command, Stdio::piped(), arguments.iter().copied(), environment)
    }

    /// The same with another standard output than one that is read here.
    pub(crate) fn start_writing_to(stdout: Stdio, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_acs-token-broker"));
        Self::spawn(command, stdout, arguments.iter().copied(), environment)
    }

    fn spawn<'a>(
        mut command: Command,
        stdout: Stdio,
        arguments: impl IntoIterator<Item = &'a str>,
        environment: &[(&str, &str)],
    ) -> Self {
        let mut child = command
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let reading = || Reading::new((Mutex::new(true), Condvar::new()));
        let (reading, always) = (reading(), reading());
        let stdout = child.stdout.take();
        let stdout = stdout.map_or_else(Output::default, |pipe| collect(pipe, Arc::clone(&reading)));
        let stderr = collect(child.stderr.take().unwrap(), always);
        Self {
            child,
            stdout,
            stderr,
            reading,
        }
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        Self::start(arguments, environment).end().await
    }

    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// The first complete line of standard output that `read` makes something of.
    pub(crate) async fn line<T>(&self, what: &str, read: impl Fn(&str) -> Option<T>) -> T {
        let mut found = None;
        eventually(what, async || {
            let text = self.stdout();
            let complete = text.rfind('\n').map_or("", |end| &text[..end]);
            found = complete.lines().find_map(&read);
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Reads standard output no more until the process has ended.
    pub(crate) fn stall(&self) {
        *self.reading.0.lock().unwrap() = false;
    }

    fn read_on(&self) {
        *self.reading.0.lock().unwrap() = true;
        self.reading.1.notify_all();
    }

    /// Sends a signal: `TERM`, `INT`.
    pub(crate) fn signal(&self, signal: &str) {
        // The shell's own `kill`: small images have no program of that name.
        let command = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Awaits the end.
    pub(crate) async fn end(mut self) -> Ended {
        eventually("the process has ended", async || self.has_ended()).await;
        let code = self.child.wait().unwrap().code();
        self.read_on();
        // The readers end with the pipes; theirs are the last references but ours.
        eventually("all output is read", async || {
            Arc::strong_count(&self.stdout) == 1 && Arc::strong_count(&self.stderr) == 1
        })
        .await;
        Ended {
            code,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_on();
    }
}

fn collect(mut pipe: impl Read + Send + 'static, reading: Reading) -> Output {
    let output = Output::default();
    let sink = Arc::clone(&output);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            sink.lock().unwrap().extend(&buffer[..read]);
            let (flag, changed) = &*reading;
            drop(changed.wait_while(flag.lock().unwrap(), |reading| !*reading).unwrap());
        }
    });
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.lock().unwrap()).into_owned()
}

/// An emulator of the test's own, with the system's clock.
pub(crate) async fn emulator() -> Emulator {
    let clock: SharedClock = SystemClock::shared();
    Emulator::start(Scenario::demo(), ([127, 0, 0, 1], 0).into(), None, clock)
        .await
        .unwrap()
}

/// A process with that configuration, once it is ready, and where it listens: for callers, and for its managers.
pub(crate) async fn serving(file: &str, environment: &[(&str, &str)]) -> (Process, String, String) {
    let process = Process::start(&["serve", "--config", file], environment);
    let (public, management) = process
        .line("the addresses are logged", |line| {
            line.contains("listening").then_some(())?;
            Some((address(line, "public")?, address(line, "management")?))
        })
        .await;
    eventually("ready", async || readiness(&management).await == Some(200)).await;
    (process, public, management)
}

/// The status of /readyz; none if nobody listens.
async fn readiness(management: &str) -> Option<u16> {
    let answer = Call::new("GET", format!("{management}/readyz")).try_send().await;
    answer.ok().map(|answer| answer.status)
}

/// The broker as a process, with an emulator in the test and the system's clock for both.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) emulator: Emulator,
    pub(crate) folder: TempDir,
    pub(crate) public: String,
    pub(crate) management: String,
}

impl Served {
    /// Starts a broker that exchanges at `endpoint`, by default the emulator's, and awaits that it is ready.
    pub(crate) async fn start(endpoint: Option<&str>, environment: &[(&str, &str)]) -> Self {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::start_with(endpoint, |_| environment).await
    }

    /// The same with an environment that depends on the emulator's origin.
    pub(crate) async fn start_with(
        endpoint: Option<&str>,
        environment: impl FnOnce(String) -> Vec<(String, String)>,
    ) -> Self {
        let emulator = emulator().await;
        let environment = environment(emulator.origin());
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let file = write_configuration(folder.path(), &emulator, endpoint);
        let (process, public, management) = serving(&file, &environment).await;
        Self {
            process,
            emulator,
            folder,
            public,
            management,
        }
    }

    /// The status of /readyz; none if nobody listens.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        readiness(&self.management).await
    }

    pub(crate) fn token(&self, user: &str) -> String {
        self.emulator.issue_token(user, &TokenRequest::default()).unwrap()
    }

    /// A token that lists the user's groups, and lives as long as any other such token.
    pub(crate) fn token_with_groups(&self, user: &str) -> String {
        let request = TokenRequest {
            groups: Some(GroupsClaim::Listed),
            lifetime: Some(3600),
            ..TokenRequest::default()
        };
        self.emulator.issue_token(user, &request).unwrap()
    }

    pub(crate) fn call(&self, path: &str) -> Call {
        Call::new("POST", format!("{}{path}", self.public))
    }

    pub(crate) async fn post_token(&self, token: &str) -> Answer {
        self.call("/token").bearer(token).send().await
    }
}

/// A listener's address in the line about it, JSON or pretty.
pub(crate) fn address(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(name)?;
    let rest = rest.trim_start_matches(['"', ':', '=']);
    let end = rest
        .find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some(format!("http://{}", &rest[..end]))
}

/// Writes configuration and assignments to `folder`; gives the configuration file's path.
pub(crate) fn write_configuration(folder: &Path, emulator: &Emulator, endpoint: Option<&str>) -> String {
    let origin = emulator.origin();
    let assignments = assignments_toml(&emulator.scenario().assignments);
    std::fs::write(folder.join("assignments.toml"), assignments).unwrap();
    let file = folder.join("broker.toml");
    let endpoint = endpoint.unwrap_or(&origin);
    let text = configuration(&origin, endpoint, &[CONTOSO, FABRIKAM], "assignments.toml");
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}
