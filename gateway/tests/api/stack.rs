//! Gateways over the in-memory services, each on a port of its own.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use chassis::admin::AdminPort;
use chassis::grpc::Server;
use chassis::process::Process;
use chassis::readiness::Readiness;
use chassis::shutdown::Shutdown;
use chassis::telemetry::Sampler;
use clap::Parser as _;
use gateway::config::Args;
use proto::auth::v1::auth_service_server::AuthServiceServer;
use proto::profile::v1::profile_service_server::ProfileServiceServer;
use serde_json::json;

use crate::client::{Answer, Asked, ask};
use crate::services::Services;

pub const PASSWORD: &str = "correct horse battery staple";

/// Everything that a test needs; ends with it.
pub struct Stack {
    pub services: Services,
    pub gateways: Vec<SocketAddr>,
    /// First part of the names of this test's counters.
    pub prefix: String,
    pub shutdown: Shutdown,
    auth: SocketAddr,
    profile: SocketAddr,
}

impl Stack {
    /// One gateway without limits.
    pub async fn start() -> Self {
        Self::with_args(&[]).await
    }

    /// One gateway without limits, and with these flags.
    pub async fn with_args(args: &[&str]) -> Self {
        let mut stack = Self::without_gateway();
        let args: Vec<&str> = ["--rate-limits", "off"].iter().chain(args).copied().collect();
        stack.add_gateway(&args).await;
        stack
    }

    /// Gateways that count in the test's Redis, under a prefix of this test.
    pub async fn with_limits(gateways: usize, args: &[&str]) -> Self {
        let mut stack = Self::without_gateway();
        let (redis, prefix) = (cache_redis_url(), stack.prefix.clone());
        let limits = ["--cache-redis-url", &redis, "--rate-limit-prefix", &prefix];
        let args: Vec<&str> = limits.iter().chain(args).copied().collect();
        for _ in 0..gateways {
            stack.add_gateway(&args).await;
        }
        stack
    }

    pub fn without_gateway() -> Self {
        let shutdown = Shutdown::new();
        let services = Services::new(shutdown.clone());
        let (auth, profile) = (listener(), listener());
        let addresses = (auth.local_addr().unwrap(), profile.local_addr().unwrap());
        let server = || Server::new(proto::FILE_DESCRIPTOR_SET, Sampler::new(0.0));
        serve_grpc(server().service(AuthServiceServer::new(services.clone())), auth, &shutdown);
        serve_grpc(server().service(ProfileServiceServer::new(services.clone())), profile, &shutdown);
        let prefix = format!("test:{}:", uuid::Uuid::new_v4());
        Self { services, gateways: Vec::new(), prefix, shutdown, auth: addresses.0, profile: addresses.1 }
    }

    /// Starts a gateway, and waits until it is ready.
    pub async fn add_gateway(&mut self, args: &[&str]) {
        let (auth, profile) = (self.auth.to_string(), self.profile.to_string());
        let fixed = ["gateway", "--auth-endpoints", &auth, "--profile-endpoints", &profile];
        let gateway = self.start_gateway(fixed.iter().chain(args).copied());
        self.gateways.push(gateway);
        loop {
            if ask(gateway, "GET", "/readyz").send().await.status == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts a gateway with these flags alone, ready or not.
    pub fn start_gateway<'a>(&self, args: impl Iterator<Item = &'a str>) -> SocketAddr {
        let args = Args::try_parse_from(args).unwrap();
        let listener = listener();
        let gateway = listener.local_addr().unwrap();
        let process = Process { listener, shutdown: self.shutdown.clone(), admin: AdminPort::none() };
        self.shutdown.spawn(async move { gateway::serve::serve(args, process).await.unwrap() });
        gateway
    }

    /// A request to the first gateway.
    pub fn ask(&self, method: &str, path: &str) -> Asked {
        ask(self.gateways[0], method, path)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send().await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.ask("GET", path).bearer(token).send().await
    }

    pub async fn register(&self, username: &str) -> Answer {
        self.ask("POST", "/v1/register")
            .json(json!({"username": username, "password": PASSWORD}))
            .send()
            .await
    }

    pub async fn login(&self, username: &str, password: &str) -> Answer {
        let body = json!({"username": username, "password": password});
        self.ask("POST", "/v1/login").json(body).send().await
    }

    /// Registers a user and logs in; returns the token.
    pub async fn signed_in(&self, username: &str) -> String {
        assert_eq!(self.register(username).await.status, 201);
        let answer = self.login(username, PASSWORD).await;
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Asks all processes to end, and goes on serving for a moment.
    pub fn drain(&self) {
        self.shutdown.draining().cancel();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.shutdown.draining().cancel();
        self.shutdown.stopping().cancel();
    }
}

fn serve_grpc(server: Server, listener: TcpListener, shutdown: &Shutdown) {
    let ends = shutdown.clone();
    shutdown.spawn(async move {
        let readiness = Readiness::new(&ends, Vec::new());
        server.serve(listener, readiness, &ends).await.unwrap();
    });
}

fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

#[expect(clippy::disallowed_methods, reason = "how `local with-servers` tells tests where its servers are")]
pub fn cache_redis_url() -> String {
    let url = std::env::var("TEST_CACHE_REDIS_URL");
    url.unwrap_or_else(|_| panic!("the tests want a Redis: local with-servers -- cargo test"))
}
