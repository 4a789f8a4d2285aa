//! The wire side of profile-svc: decode, call, encode. Conversions from and to protobuf live here alone.

use chassis::call_stream::{Answers, answer};
use chassis::shutdown::Shutdown;
use chassis::status::to_status;
use proto::profile::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use crate::error::{ProfileError, Violation};
use crate::profile::UserId;
use crate::service::ProfileService;
use crate::username::Username;

mod convert;
mod frames;

use convert::{Update, decode_update, encode_profile};
use frames::GetProfileFrames;

/// The RPCs over the use cases.
pub struct ProfileGrpc {
    service: ProfileService,
    shutdown: Shutdown,
}

impl ProfileGrpc {
    pub fn new(service: ProfileService, shutdown: Shutdown) -> Self {
        Self { service, shutdown }
    }
}

#[tonic::async_trait]
impl pb::profile_service_server::ProfileService for ProfileGrpc {
    type GetProfileStreamStream = Answers<pb::GetProfileStreamResponse>;

    async fn get_profile(
        &self,
        request: Request<pb::GetProfileRequest>,
    ) -> Result<Response<pb::GetProfileResponse>, Status> {
        get_profile(self.service.clone(), request.into_inner()).await.map(Response::new)
    }

    async fn get_profile_stream(
        &self,
        request: Request<Streaming<pb::GetProfileStreamRequest>>,
    ) -> Result<Response<Self::GetProfileStreamStream>, Status> {
        let method = "sallyport.profile.v1.ProfileService/GetProfile";
        answer::<GetProfileFrames, _, _>(request, &self.service, get_profile, method, &self.shutdown)
    }

    async fn create_profile(
        &self,
        request: Request<pb::CreateProfileRequest>,
    ) -> Result<Response<pb::CreateProfileResponse>, Status> {
        let pb::CreateProfileRequest { user_id, username } = request.into_inner();
        let (id, username) = match (UserId::parse(&user_id), Username::parse(&username)) {
            (Ok(id), Ok(username)) => (id, username),
            (id, username) => {
                return Err(invalid([id.err(), username.err()].into_iter().flatten().collect()));
            }
        };
        let profile = self.service.create(id, &username).await.map_err(failed)?;
        Ok(Response::new(pb::CreateProfileResponse { profile: Some(encode_profile(profile)) }))
    }

    async fn update_profile(
        &self,
        request: Request<pb::UpdateProfileRequest>,
    ) -> Result<Response<pb::UpdateProfileResponse>, Status> {
        let Update { id, expected, change } = decode_update(request.into_inner()).map_err(failed)?;
        let profile = self.service.update(id, expected, &change).await.map_err(failed)?;
        Ok(Response::new(pb::UpdateProfileResponse { profile: Some(encode_profile(profile)) }))
    }

    async fn record_seen(
        &self,
        request: Request<pb::RecordSeenRequest>,
    ) -> Result<Response<pb::RecordSeenResponse>, Status> {
        let id = parse_id(&request.into_inner().user_id)?;
        self.service.record_seen(id).await.map_err(failed)?;
        Ok(Response::new(pb::RecordSeenResponse {}))
    }
}

/// One read, unary or from a stream.
async fn get_profile(
    service: ProfileService,
    request: pb::GetProfileRequest,
) -> Result<pb::GetProfileResponse, Status> {
    use pb::get_profile_request::Key;
    let profile = match request.key {
        Some(Key::UserId(id)) => service.profile(parse_id(&id)?).await,
        // A name that nobody can have is nobody's.
        Some(Key::Username(username)) => match Username::parse(&username) {
            Ok(username) => service.profile_by_username(&username).await,
            Err(_) => Err(ProfileError::NotFound),
        },
        None => return Err(invalid(vec![Violation::new("key", "user_id or username has to be set")])),
    };
    Ok(pb::GetProfileResponse { profile: Some(encode_profile(profile.map_err(failed)?)) })
}

fn parse_id(text: &str) -> Result<UserId, Status> {
    UserId::parse(text).map_err(|violation| invalid(vec![violation]))
}

fn invalid(violations: Vec<Violation>) -> Status {
    failed(ProfileError::InvalidFields(violations))
}

fn failed(error: ProfileError) -> Status {
    to_status(&error)
}
