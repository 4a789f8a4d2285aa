//! A cache process that dies and comes back, with the memory of a snapshot.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

/// A Redis of the test's own, which it may kill.
struct Server {
    folder: tempfile::TempDir,
    process: Child,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = launch(folder.path());
        Self { folder, process }
    }

    fn url(&self) -> RedisUrl {
        format!("redis+unix://{}", self.folder.path().join("socket").display()).parse().unwrap()
    }

    /// Ends the process without a chance to save anything, and starts another one in the same folder.
    fn crash_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = launch(self.folder.path());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// On a socket in the folder: a port could be taken by somebody else between two starts.
fn launch(folder: &Path) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server has to be on the PATH")
}

async fn connected(replica: &Replica) -> crate::redis::Link {
    let begun = tokio::time::Instant::now();
    loop {
        if let Ok(link) = replica.cache.link("key").await
            && link.query::<String>("PING", &redis::cmd("PING")).await.is_ok()
        {
            return link;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "redis does not come up");
        pause(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_restart_from_an_old_snapshot_brings_no_old_value_back() {
    let mut server = Server::start();
    let shutdown = Shutdown::new();
    let replica = replica_on(&server.url(), &shutdown, "test");
    let link = connected(&replica).await;
    let database = Database::at(1);
    assert_eq!(read(&replica, &database, AT_ONCE).await, 1);
    link.query::<()>("SAVE", &redis::cmd("SAVE")).await.unwrap();
    replica.announce("key").await.unwrap().finish(Some(&database.commit())).await.unwrap();
    assert_eq!(read(&replica, &database, AT_ONCE).await, 2);

    server.crash_and_restart();
    let restarted = connected(&replica).await;
    let old: Option<Vec<u8>> =
        restarted.query("GET", redis::cmd("GET").arg(replica.cache.name(&link, "key"))).await.unwrap();
    assert_eq!(old.unwrap()[0], b'V', "the old value is back in the new process");
    assert_eq!(read(&replica, &database, AT_ONCE).await, 2);
}

#[tokio::test]
async fn a_write_that_spans_a_restart_is_finished_on_the_new_process() {
    let mut server = Server::start();
    let shutdown = Shutdown::new();
    let [writer, reader]: [Replica; 2] =
        std::array::from_fn(|_| replica_on(&server.url(), &shutdown, "test"));
    connected(&writer).await;
    let database = Database::at(1);
    let announced = writer.announce("key").await.unwrap();
    server.crash_and_restart();
    connected(&reader).await;
    assert_eq!(read(&reader, &database, AT_ONCE).await, 1);
    announced.finish(Some(&database.commit())).await.unwrap();
    assert_eq!(read(&reader, &database, AT_ONCE).await, 2);
}

#[tokio::test]
async fn a_write_that_cannot_be_finished_is_not_acknowledged_and_yet_not_hidden() {
    let mut server = Server::start();
    let shutdown = Shutdown::new();
    let replica = replica_on(&server.url(), &shutdown, "test");
    connected(&replica).await;
    let database = Database::at(1);
    assert_eq!(read(&replica, &database, AT_ONCE).await, 1);
    let announced = replica.announce("key").await.unwrap();
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    let begun = tokio::time::Instant::now();
    assert!(announced.finish(Some(&database.commit())).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(1_800), "{:?}", begun.elapsed());
    assert_eq!(read(&replica, &database, AT_ONCE).await, 2);
    server.crash_and_restart();
    connected(&replica).await;
    assert_eq!(read(&replica, &database, AT_ONCE).await, 2);
}

#[tokio::test]
async fn no_read_is_stale_while_the_cache_restarts_and_cuts_connections() {
    let mut server = Server::start();
    let shutdown = Shutdown::new();
    let replicas: [Replica; simulation::REPLICAS] =
        std::array::from_fn(|_| replica_on(&server.url(), &shutdown, "test"));
    let operator = replicas[0].clone();
    connected(&operator).await;
    let simulated = shutdown.spawn(simulation::simulate(replicas, 10_000));
    while !simulated.is_finished() {
        pause(Duration::from_millis(fastrand::u64(0..200))).await;
        let Ok(link) = operator.cache.link("key").await else { continue };
        if fastrand::bool() {
            let _ = link.query::<()>("SAVE", &redis::cmd("SAVE")).await;
            pause(Duration::from_millis(fastrand::u64(0..50))).await;
            server.crash_and_restart();
        } else {
            let _ = link.query::<()>("CLIENT", redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal"])).await;
        }
    }
    let tally = simulated.await.unwrap();
    println!("{tally:?}");
    assert_eq!(tally.stale.load(Ordering::SeqCst), 0);
    assert!(tally.writes.load(Ordering::SeqCst) > 0);
}
