//! The server's side of a call stream: runs its calls side by side, each as if it had come alone.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt as _};
use slab::Slab;
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::{Code, Request, Response, Status, Streaming};

use super::frames::CallError;
use crate::rpc::{self, CallDurations};
use crate::shutdown::Shutdown;
use crate::trace::TraceContext;
use crate::upstream::Failure;

/// Calls in flight on one stream; what comes on top is refused at once.
const MAX_IN_FLIGHT: usize = 1024;

/// How many frames are read before the calls at hand get their turn.
const READ_BATCH: usize = 64;

/// What was sent before the client saw the go-away still arrives within this time.
const GRACE: Duration = Duration::from_millis(250);

/// The typed frames of one streaming method, to and from what all methods share; [`server_frames!`](crate::server_frames) writes it.
pub trait ServerFrames {
    type Incoming;
    type Outgoing;
    type Request;
    type Response;

    fn read(frame: Self::Incoming) -> Incoming<Self::Request>;
    fn response(id: u64, response: Self::Response) -> Self::Outgoing;
    fn error(id: u64, error: CallError) -> Self::Outgoing;
    fn go_away() -> Self::Outgoing;
}

/// A frame from the client.
#[derive(Debug)]
pub struct Incoming<Request> {
    pub id: u64,
    /// Empty: none.
    pub traceparent: String,
    /// How long the caller waits; 0: no limit of its own.
    pub timeout_micros: u64,
    pub work: Work<Request>,
}

/// What a frame asks for.
#[derive(Debug)]
pub enum Work<Request> {
    Request(Request),
    /// The caller no longer waits for the request of this id.
    Cancel,
    /// A kind of frame that a newer client may send.
    Unknown,
}

/// The answers to the calls of one stream.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// [Serves](serve) the calls that come with a request of tonic's, each by the handler and a clone of the service.
///
/// # Errors
/// None: tonic's methods are of that type.
pub fn answer<F, S, Fut>(
    calls: Request<Streaming<F::Incoming>>,
    service: &S,
    handler: fn(S, F::Request) -> Fut,
    method: &'static str,
    shutdown: &Shutdown,
) -> Result<Response<Answers<F::Outgoing>>, Status>
where
    F: ServerFrames<Incoming: Send + 'static, Outgoing: Send, Request: Send, Response: Send> + 'static,
    S: Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<F::Response, Status>> + Send + 'static,
{
    let service = service.clone();
    let handler = move |request| handler(service.clone(), request);
    Ok(Response::new(Box::pin(serve::<F, _, _>(calls.into_inner(), handler, method, shutdown))))
}

/// Answers the calls of one stream with `handler`, which is the unary method's own code.
///
/// Each call has its own deadline, trace and place in the metrics under `method`, the unary method's full name. An error or a
/// panic is the answer to its own call alone. When the process drains the client is told at once; what it has sent by then is
/// still answered.
pub fn serve<F, H, Fut>(
    incoming: impl Stream<Item = Result<F::Incoming, Status>> + Send + Unpin + 'static,
    handler: H,
    method: &'static str,
    shutdown: &Shutdown,
) -> impl Stream<Item = Result<F::Outgoing, Status>> + Send + 'static
where
    F: ServerFrames + 'static,
    F::Outgoing: Send,
    F::Request: Send,
    F::Response: Send,
    H: Fn(F::Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<F::Response, Status>> + Send,
{
    let shared = Arc::new((handler, CallDurations::server(method)));
    let run = move |call: Call<F::Request>| {
        let shared = shared.clone();
        async move {
            let (handler, durations) = &*shared;
            let work = within(call.timeout, async { handler(call.request).await });
            let work = Abortable::new(AssertUnwindSafe(work).catch_unwind(), call.registration);
            let work = work.map(|outcome| match outcome {
                Ok(Ok(answer)) => Some(answer),
                Ok(Err(_panic)) => Some(Err(panicked(durations.method()))),
                Err(_aborted) => None,
            });
            // Boxed, for each layer around it would else make room for it, and every call be copied several times.
            let work = Box::pin(work);
            let code = |answer: &Option<_>| answer.as_ref().map_or(Code::Cancelled, rpc::code_of);
            let answer = rpc::serve(durations, call.context, work, code).await;
            Finished { slot: call.slot, answer }
        }
    };
    Calls::<F, _, _, _> {
        incoming: Some(incoming),
        failure: None,
        run,
        running: FuturesUnordered::new(),
        slots: Slab::new(),
        outbox: VecDeque::new(),
        draining: Box::pin(shutdown.draining().clone().cancelled_owned()),
        stopping: Box::pin(shutdown.stopping().clone().cancelled_owned()),
        grace: None,
    }
}

async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    match limit {
        None => work.await,
        Some(limit) => timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("the caller's deadline has passed"))),
    }
}

fn panicked(method: &'static str) -> Status {
    tracing::error!(method, "a call panicked");
    Status::internal("the call failed unexpectedly")
}

/// One call about to run.
struct Call<Request> {
    slot: usize,
    request: Request,
    context: TraceContext,
    timeout: Option<Duration>,
    registration: futures_util::future::AbortRegistration,
}

struct Finished<Response> {
    slot: usize,
    /// `None`: nobody waits for it.
    answer: Option<Result<Response, Status>>,
}

struct Running {
    id: u64,
    abort: AbortHandle,
}

/// The answers of one stream, in the order in which they get ready.
struct Calls<F: ServerFrames, S, R, W> {
    /// `None` when no more frames come.
    incoming: Option<S>,
    /// Why no more frames come, to be told when everything has been answered.
    failure: Option<Status>,
    run: R,
    running: FuturesUnordered<W>,
    slots: Slab<Running>,
    /// Answers that took no call.
    outbox: VecDeque<F::Outgoing>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs from the go-away on.
    grace: Option<Pin<Box<Sleep>>>,
}

impl<F: ServerFrames, S, R, W> Unpin for Calls<F, S, R, W> {}

impl<F, S, R, W> Stream for Calls<F, S, R, W>
where
    F: ServerFrames,
    S: Stream<Item = Result<F::Incoming, Status>> + Unpin,
    R: Fn(Call<F::Request>) -> W,
    W: Future<Output = Finished<F::Response>>,
{
    type Item = Result<F::Outgoing, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let has_more = this.read(cx);
            if let Some(frame) = this.outbox.pop_front() {
                return Poll::Ready(Some(Ok(frame)));
            }
            while let Poll::Ready(Some(finished)) = this.running.poll_next_unpin(cx) {
                let id = this.slots.remove(finished.slot).id;
                match finished.answer {
                    Some(Ok(response)) => return Poll::Ready(Some(Ok(F::response(id, response)))),
                    Some(Err(status)) => return Poll::Ready(Some(Ok(F::error(id, status.into())))),
                    None => {}
                }
            }
            if !has_more {
                return this.poll_end(cx);
            }
        }
    }
}

impl<F, S, R, W> Calls<F, S, R, W>
where
    F: ServerFrames,
    S: Stream<Item = Result<F::Incoming, Status>> + Unpin,
    R: Fn(Call<F::Request>) -> W,
    W: Future<Output = Finished<F::Response>>,
{
    /// Takes in what has arrived, up to a batch. Tells whether there may be more.
    fn read(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..READ_BATCH {
            let Some(incoming) = &mut self.incoming else { return false };
            match incoming.poll_next_unpin(cx) {
                Poll::Pending => return false,
                Poll::Ready(Some(Ok(frame))) => self.take(F::read(frame)),
                Poll::Ready(ended) => {
                    self.incoming = None;
                    self.failure = ended.and_then(Result::err);
                }
            }
        }
        true
    }

    fn take(&mut self, frame: Incoming<F::Request>) {
        let Incoming { id, traceparent, timeout_micros, work } = frame;
        let request = match work {
            Work::Request(request) => request,
            Work::Cancel => {
                // Rare, and there are few to look through.
                if let Some((_, call)) = self.slots.iter().find(|(_, call)| call.id == id) {
                    call.abort.abort();
                }
                return;
            }
            Work::Unknown => {
                let status = Status::invalid_argument("a frame without a request");
                return self.outbox.push_back(F::error(id, status.into()));
            }
        };
        if self.running.len() >= MAX_IN_FLIGHT {
            let status = Failure::Full.status("this replica");
            return self.outbox.push_back(F::error(id, status.into()));
        }
        let (abort, registration) = AbortHandle::new_pair();
        let slot = self.slots.insert(Running { id, abort });
        let context = TraceContext::parse(&traceparent).unwrap_or_else(|| TraceContext::root(false));
        let timeout = (timeout_micros > 0).then(|| Duration::from_micros(timeout_micros));
        self.running.push((self.run)(Call { slot, request, context, timeout, registration }));
    }

    /// With nothing to answer at the moment: sends the go-away, or ends the stream, or waits.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<F::Outgoing, Status>>> {
        let idle = self.running.is_empty();
        if self.incoming.is_none() && idle {
            return Poll::Ready(self.failure.take().map(Err));
        }
        match &mut self.grace {
            None => {
                if self.draining.as_mut().poll(cx).is_ready() {
                    self.grace = Some(Box::pin(sleep(GRACE)));
                    cx.waker().wake_by_ref();
                    return Poll::Ready(Some(Ok(F::go_away())));
                }
            }
            Some(grace) => {
                let is_over = grace.as_mut().poll(cx).is_ready();
                if self.stopping.as_mut().poll(cx).is_ready() && is_over && idle {
                    return Poll::Ready(None);
                }
            }
        }
        Poll::Pending
    }
}
