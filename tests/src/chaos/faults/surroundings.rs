//! What the services do not need to serve: where traces go.

use std::time::Duration;

use super::{generous, storm};
use crate::chaos::bars::Bars;
use crate::chaos::load::Crowd;
use crate::chaos::proxy::{Proxy, Weather};
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::collector::Collector;

const TEXT: &str = "Two of each, every request is traced, spans are sent twice a second. Nothing fails, however the collector does.";
const OUTAGE: Duration = Duration::from_secs(6);

pub(super) async fn run(form: Form) -> Chapter {
    let collector = Collector::start().await;
    let proxy = Proxy::start(collector.address()).unwrap_or_else(|error| panic!("no proxy: {error}"));
    let stack = generous().gateways(2).auths(2).profiles(2);
    let stack = stack
        .env_everywhere("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", proxy.address()))
        .env_everywhere("OTEL_TRACES_SAMPLER_ARG", "1")
        .env_everywhere("OTEL_BSP_SCHEDULE_DELAY", "500");
    let mut stage = Stage::set(stack.start(), form, Crowd::USUAL).await;
    for (name, weather) in [
        ("Trace collector away", Weather::Reset),
        ("Trace collector in a black hole", Weather::BlackHole),
        ("Trace collector frozen: it takes spans and answers nothing", Weather::AnswersLost),
        ("Trace collector slow, 500 ms each way", Weather::Slow(Duration::from_millis(500))),
    ] {
        let bad = async |stage: &Stage| storm(stage, &proxy, weather, OUTAGE).await;
        stage.fault(name, Bars::nothing_fails(), bad).await;
    }
    Chapter { title: "Surroundings", text: TEXT, rows: stage.end().await, skipped: Vec::new() }
}
