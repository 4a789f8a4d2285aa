//! The services' gRPC interface, one replica at a time.

use proto::auth::v1::auth_service_client::AuthServiceClient;
use proto::profile::v1::profile_service_client::ProfileServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt as _;

use crate::controlled::Replica;

/// A connection to one replica.
pub async fn connect(replica: &Replica) -> Channel {
    let connection =
        async { Endpoint::from_shared(format!("http://{}", replica.address()))?.connect().await };
    connection.await.unwrap_or_else(|error| panic!("{} cannot be reached: {error:?}", replica.name()))
}

pub async fn auth(replica: &Replica) -> AuthServiceClient<Channel> {
    AuthServiceClient::new(connect(replica).await)
}

pub async fn profile(replica: &Replica) -> ProfileServiceClient<Channel> {
    ProfileServiceClient::new(connect(replica).await)
}

/// Domain and reason of the `google.rpc.ErrorInfo` that a failure has to carry.
#[track_caller]
pub fn reason(status: &Status) -> (String, String) {
    let Some(info) = status.get_details_error_info() else { panic!("no ErrorInfo: {status:?}") };
    (info.domain, info.reason)
}
