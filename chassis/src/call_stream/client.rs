//! Calls of one method over call streams: a replica is picked for each call, as for any other.

use std::marker::PhantomData;
use std::sync::Arc;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::rpc::{self, CallDurations};
use crate::trace::TraceContext;
use crate::upstream::attempts::{Terms, Unanswered, traced};
use crate::upstream::connection::Lease;
use crate::upstream::{Failure, Upstream};

/// One method of an upstream whose calls share a stream per replica. Clones share the streams.
pub struct CallStream<Request, Response> {
    upstream: Upstream,
    path: PathAndQuery,
    unary: PathAndQuery,
    durations: Arc<CallDurations>,
    messages: PhantomData<fn(Request) -> Response>,
}

impl<Request, Response> Clone for CallStream<Request, Response> {
    fn clone(&self) -> Self {
        Self {
            upstream: self.upstream.clone(),
            path: self.path.clone(),
            unary: self.unary.clone(),
            durations: self.durations.clone(),
            messages: PhantomData,
        }
    }
}

impl Upstream {
    /// The calls of the streaming method at `path`, such as `/sallyport.auth.v1.AuthService/ValidateSessionStream`. Metrics and
    /// spans name the unary method, `ValidateSession`, which is called where a replica has no such stream: it may be of an older version.
    ///
    /// # Panics
    /// When `path` is not the path of a URI: it is to be a constant.
    pub fn call_stream<Request, Response>(&self, path: &'static str) -> CallStream<Request, Response>
    where
        Request: Message + Clone + 'static,
        Response: Message + Default + 'static,
    {
        let unary = path.strip_suffix("Stream").unwrap_or(path);
        CallStream {
            upstream: self.clone(),
            path: PathAndQuery::from_static(path),
            unary: PathAndQuery::from_static(unary),
            durations: Arc::new(CallDurations::client(unary.trim_start_matches('/'))),
            messages: PhantomData,
        }
    }
}

impl<Request, Response> CallStream<Request, Response>
where
    Request: Message + Clone + 'static,
    Response: Message + Default + 'static,
{
    /// Makes one call. Dropping the future withdraws it.
    ///
    /// Methods on call streams may be carried out twice: a call whose replica is lost is made again on another.
    ///
    /// # Errors
    /// The status that the service answers; `DEADLINE_EXCEEDED` when the deadline passes; `UNAVAILABLE` when no replica can be
    /// reached or the one that had the call was lost; `RESOURCE_EXHAUSTED` with reason `CAPACITY`, at once, when too many
    /// calls are in flight.
    pub async fn call(&self, request: &Request, deadline: Instant) -> Result<Response, Status> {
        let started = Instant::now();
        let terms = Terms { started, deadline, idempotent: true };
        let answer = self.upstream.run(terms, |lease| self.attempt(lease, request, terms)).await;
        let outcome = answer.and_then(|answer| answer);
        if rpc::code_of(&outcome) == Code::Unimplemented {
            return self.call_unary(request, deadline).await;
        }
        self.durations.record(rpc::code_of(&outcome), started.elapsed());
        outcome
    }

    async fn call_unary(&self, request: &Request, deadline: Instant) -> Result<Response, Status> {
        let mut request = tonic::Request::new(request.clone());
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        let codec = ProstCodec::<Request, Response>::default();
        let answer = Grpc::new(self.upstream.clone()).unary(request, self.unary.clone(), codec).await?;
        Ok(answer.into_inner())
    }

    async fn attempt(
        &self,
        lease: Lease,
        request: &Request,
        terms: Terms,
    ) -> Result<Result<Response, Status>, Unanswered> {
        let connection = lease.connection();
        let call = |context: Option<TraceContext>| async move {
            let limit = self.upstream.settings().max_in_flight;
            let link = connection.links.get(connection, &self.path, limit)?;
            // What is left of it, which for a second attempt is less. Zero would mean that there is no deadline.
            let timeout = terms.deadline.saturating_duration_since(Instant::now());
            let answer = link.submit(context, (timeout.as_micros() as u64).max(1), request)?.await?;
            Ok(answer.and_then(|message| {
                Response::decode(message).map_err(|_| Failure::Undecodable.status(self.upstream.name()))
            }))
        };
        traced(self.durations.method(), connection, call, |outcome| match outcome {
            Ok(answer) => rpc::code_of(answer),
            Err(_) => Code::Unavailable,
        })
        .await
    }
}
