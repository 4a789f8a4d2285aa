//! What happens around every request, whatever its route: the one ordered list.
//!
//! One hand-written layer rather than a stack of boxed ones: each of those costs every request several allocations.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use tower::{Layer, Service, ServiceExt as _};

use crate::app::App;
use crate::problem::Problem;
use crate::{guard, observe, problem, response_headers};

/// To be laid around the whole router.
#[derive(Clone)]
pub struct Middleware(pub App);

impl<S> Layer<S> for Middleware {
    type Service = Around<S>;

    fn layer(&self, inner: S) -> Around<S> {
        Around { app: self.0.clone(), inner }
    }
}

#[derive(Clone)]
pub struct Around<S> {
    app: App,
    inner: S,
}

impl<S> Service<Request> for Around<S>
where
    S: Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let app = self.app.clone();
        let observation = observe::Observation::begin(&request, &app.settings);
        let uri = request.uri().clone();
        let refused = guard::refuse_oversized(&request, &app.settings.bounds);
        let route = match app.admission.admit(&request) {
            Some(admitted) => Ok((admitted, self.inner.call(request))),
            None => Err(Box::pin(wait(app.clone(), self.inner.clone(), request))),
        };
        let route = async move {
            match (refused, route) {
                (Some(problem), _) => problem.into_response(),
                (None, Ok((_place, route))) => route.await.into_response(),
                (None, Err(waiting)) => waiting.await,
            }
        };
        Box::pin(async move {
            // Pinned once: a layer that takes a future by value makes room for it twice.
            let route = pin!(route);
            // From the inside out.
            let answered = pin!(async {
                // 1. Nothing hangs or panics past here.
                let response = guard::bounded(route, app.settings.bounds.request_timeout()).await;
                // 2. Whatever failed says so as a problem document.
                let response = problem::render(&uri, response);
                // 3. Browsers are told what not to do with it.
                response_headers::secure(response)
            });
            // 4. All of it happens in one trace, and is counted and logged once.
            Ok(observation.around(answered, &app.durations).await)
        })
    }
}

/// What becomes of a request that found no place at first.
async fn wait<S>(app: App, inner: S, request: Request) -> Response
where
    S: Service<Request, Error = Infallible>,
    S::Response: IntoResponse,
{
    match app.admission.wait(request).await {
        Ok((_place, request)) => inner.oneshot(request).await.into_response(),
        Err(full) => Problem::from(full).into_response(),
    }
}
