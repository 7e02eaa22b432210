//! A redis-server of one's own: a process on loopback, killed when it is dropped. Its administrator is `redis-cli`.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

pub(super) struct Redis {
    child: Child,
    port: u16,
    folder: TempDir,
    // The administrator's; without one everybody is administrator.
    password: Option<&'static str>,
}

impl Redis {
    /// A server with nothing in it.
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same that lets nobody in without a password.
    pub(super) async fn start_with(password: Option<&'static str>) -> Self {
        // Another process may take the port meanwhile.
        for _ in 0..10 {
            let port = TcpListener::bind(("127.0.0.1", 0))
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let folder = tempfile::tempdir().unwrap();
            let mut redis = Self {
                child: spawn(port, &folder, password),
                port,
                folder,
                password,
            };
            if redis.is_up().await {
                return redis;
            }
        }
        panic!("redis-server does not start");
    }

    async fn is_up(&mut self) -> bool {
        for _ in 0..1000 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if self.say(&["PING"]) == b"PONG\n" {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    pub(super) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Says something to it; gives what it answers.
    pub(super) fn say(&self, words: &[&str]) -> Vec<u8> {
        let port = self.port.to_string();
        let mut command = Command::new("redis-cli");
        if let Some(password) = self.password {
            command.env("REDISCLI_AUTH", password);
        }
        command.args(["-p", &port]).args(words).output().unwrap().stdout
    }

    fn names(&self) -> Vec<String> {
        let names = String::from_utf8(self.say(&["KEYS", "*"])).unwrap();
        names
            .lines()
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The names of the values; leases, budgets and pauses have an ending.
    pub(super) fn values(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| name.ends_with('}')).collect()
    }

    /// All that is in it: each name with what stands there, as it would be written to a disk.
    pub(super) fn everything(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let names = self.names().into_iter();
        names
            .map(|name| {
                let verb = if name.ends_with('}') { "GET" } else { "DUMP" };
                let value = self.say(&[verb, &name]);
                (name.into_bytes(), value)
            })
            .collect()
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again at its port, empty.
    pub(super) async fn restart(&mut self) {
        self.child = spawn(self.port, &self.folder, self.password);
        assert!(self.is_up().await);
    }
}

fn spawn(port: u16, folder: &TempDir, password: Option<&str>) -> Child {
    let protection = password.map(|password| ["--requirepass", password]);
    Command::new("redis-server")
        .args(protection.into_iter().flatten())
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--protected-mode",
            "no",
        ])
        .args([
            "--dir",
            folder.path().to_str().unwrap(),
            "--save",
            "",
            "--appendonly",
            "no",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; tests/shared-cache.sh installs it"))
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
