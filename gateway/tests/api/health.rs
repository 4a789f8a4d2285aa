//! `GET /health`, `/livez` and `/readyz`.

use crate::stack::Stack;

#[tokio::test]
async fn a_gateway_is_ready_until_it_drains() {
    let stack = Stack::start().await;
    for path in ["/health", "/livez", "/readyz"] {
        let answer = stack.get(path).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"OK"[..]), "{path}");
    }
    stack.drain();
    let problem = stack.get("/readyz").await.problem(503, "NOT_READY");
    assert_eq!(problem["detail"], "Not ready: draining.");
    assert_eq!(stack.get("/livez").await.status, 200);
}
