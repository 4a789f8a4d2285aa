//! Keeps the set of an upstream's replicas current.
//!
//! A name is resolved again every few seconds, sooner when a replica is away. A failed or empty answer changes nothing: an
//! outage of the name server is none of the upstream.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::endpoints::{Address, Endpoints};
use super::keeper::{self, jittered};
use super::pool::Pool;
use crate::shutdown::Shutdown;

/// Turns a name into the addresses behind it.
pub(super) type Resolve =
    Arc<dyn Fn(Address) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// The resolver of the operating system.
pub(super) fn system() -> Resolve {
    Arc::new(|name: Address| {
        Box::pin(async move { Ok(tokio::net::lookup_host((name.host(), name.port())).await?.collect()) })
    })
}

/// Feeds the pool for as long as the process serves; each replica gets a keeper. Everything ends when `owner` is cancelled.
pub(super) fn start(
    pool: &Arc<Pool>,
    endpoints: Endpoints,
    resolve: Resolve,
    owner: CancellationToken,
    shutdown: &Shutdown,
) {
    match endpoints {
        Endpoints::List(addresses) => {
            keep_all(pool, &addresses, &owner, shutdown);
            pool.set_resolved();
        }
        Endpoints::Dns(name) => {
            let follow = follow(pool.clone(), name, resolve, owner.clone(), shutdown.clone());
            shutdown.spawn_background(async move {
                owner.run_until_cancelled(follow).await;
            });
        }
    }
}

async fn follow(
    pool: Arc<Pool>,
    name: Address,
    resolve: Resolve,
    owner: CancellationToken,
    shutdown: Shutdown,
) {
    let settings = &pool.settings;
    let mut failing = false;
    loop {
        let answer = timeout(settings.resolve_timeout, resolve(name.clone())).await;
        let failure = match answer {
            Ok(Ok(found)) if !found.is_empty() => {
                let mut addresses: Vec<Address> = found.into_iter().map(Address::from).collect();
                addresses.sort_unstable_by(|a, b| (a.host(), a.port()).cmp(&(b.host(), b.port())));
                addresses.dedup();
                keep_all(&pool, &addresses, &owner, &shutdown);
                failing = false;
                None
            }
            Ok(Ok(_)) => Some("no address".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        if let Some(cause) = failure
            && !std::mem::replace(&mut failing, true)
        {
            tracing::warn!(upstream = pool.name, %name, cause, "a name cannot be resolved");
        }
        pool.set_resolved();
        let interval = settings.resolve_interval;
        sleep(jittered(interval / 4)).await;
        tokio::select! {
            () = sleep(jittered(interval)) => {}
            () = pool.until_some_away() => {}
        }
    }
}

fn keep_all(pool: &Arc<Pool>, addresses: &[Address], owner: &CancellationToken, shutdown: &Shutdown) {
    for (address, retired) in pool.set_addresses(addresses) {
        let (pool, owner) = (pool.clone(), owner.clone());
        shutdown.spawn_background(async move {
            tokio::select! {
                () = keeper::keep(pool, address) => {}
                () = retired.cancelled() => {}
                () = owner.cancelled() => {}
            }
        });
    }
}
