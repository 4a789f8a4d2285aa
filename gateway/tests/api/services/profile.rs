//! profile-svc: one map.

use chassis::call_stream::{Answers, answer};
use proto::profile::v1 as profile;
use proto::profile::v1::profile_service_server::ProfileService;
use proto::profile::v1::{
    CreateProfileRequest, CreateProfileResponse, GetProfileRequest, GetProfileResponse,
    GetProfileStreamRequest, GetProfileStreamResponse, Profile, RecordSeenRequest, RecordSeenResponse,
    UpdateProfileRequest, UpdateProfileResponse, get_profile_request,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Services, failure, invalid};

fn not_found() -> Status {
    failure(Code::NotFound, "PROFILE_NOT_FOUND", "there is no such profile")
}

async fn read(services: Services, request: GetProfileRequest) -> Result<GetProfileResponse, Status> {
    services.begin("GetProfile").await?;
    let state = services.lock();
    let profile = match request.key {
        Some(get_profile_request::Key::UserId(id)) => state.profiles.get(&id),
        Some(get_profile_request::Key::Username(name)) if name.chars().count() < 3 => {
            return Err(invalid(&[("username", "is too short")]));
        }
        Some(get_profile_request::Key::Username(name)) => {
            state.profiles.values().find(|profile| profile.username.eq_ignore_ascii_case(&name))
        }
        None => None,
    };
    Ok(GetProfileResponse { profile: Some(profile.cloned().ok_or_else(not_found)?) })
}
#[tonic::async_trait]
impl ProfileService for Services {
    type GetProfileStreamStream = Answers<GetProfileStreamResponse>;

    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<GetProfileResponse>, Status> {
        read(self.clone(), request.into_inner()).await.map(Response::new)
    }

    async fn get_profile_stream(
        &self,
        request: Request<Streaming<GetProfileStreamRequest>>,
    ) -> Result<Response<Self::GetProfileStreamStream>, Status> {
        let method = "sallyport.profile.v1.ProfileService/GetProfile";
        answer::<Frames, _, _>(request, self, read, method, &self.shutdown)
    }

    async fn create_profile(
        &self,
        request: Request<CreateProfileRequest>,
    ) -> Result<Response<CreateProfileResponse>, Status> {
        self.begin("CreateProfile").await?;
        let CreateProfileRequest { user_id, username } = request.into_inner();
        let created = Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 });
        let new = Profile {
            user_id: user_id.clone(),
            display_name: username.clone(),
            username,
            locale: "en".into(),
            timezone: "UTC".into(),
            role: "user".into(),
            created_at: created,
            updated_at: created,
            version: 1,
            ..Profile::default()
        };
        let profile = self.lock().profiles.entry(user_id).or_insert(new).clone();
        Ok(Response::new(CreateProfileResponse { profile: Some(profile) }))
    }

    async fn update_profile(
        &self,
        request: Request<UpdateProfileRequest>,
    ) -> Result<Response<UpdateProfileResponse>, Status> {
        self.begin("UpdateProfile").await?;
        let UpdateProfileRequest { profile, update_mask, expected_version } = request.into_inner();
        let new = profile.unwrap_or_default();
        let mut state = self.lock();
        let profile = state.profiles.get_mut(&new.user_id).ok_or_else(not_found)?;
        if expected_version != 0 && expected_version != profile.version {
            return Err(failure(Code::Aborted, "VERSION_MISMATCH", "the profile is at another version"));
        }
        if new.timezone == "Mars/Olympus" {
            return Err(invalid(&[("timezone", "is not known"), ("links[0].url", "has to be https")]));
        }
        for path in update_mask.unwrap_or_default().paths {
            match path.as_str() {
                "display_name" => profile.display_name.clone_from(&new.display_name),
                "bio" => profile.bio.clone_from(&new.bio),
                "locale" => profile.locale.clone_from(&new.locale),
                "timezone" => profile.timezone.clone_from(&new.timezone),
                "links" => profile.links.clone_from(&new.links),
                "avatar_url" => profile.avatar_url.clone_from(&new.avatar_url),
                other => return Err(Status::invalid_argument(format!("unknown path {other}"))),
            }
        }
        profile.version += 1;
        Ok(Response::new(UpdateProfileResponse { profile: Some(profile.clone()) }))
    }

    async fn record_seen(
        &self,
        request: Request<RecordSeenRequest>,
    ) -> Result<Response<RecordSeenResponse>, Status> {
        self.begin("RecordSeen").await?;
        if let Some(profile) = self.lock().profiles.get_mut(&request.into_inner().user_id) {
            profile.last_seen = Some(prost_types::Timestamp { seconds: 1_767_300_000, nanos: 0 });
        }
        Ok(Response::new(RecordSeenResponse {}))
    }
}

chassis::server_frames! {
    enum Frames {
        GetProfileStreamRequest { profile::get_profile_stream_request::Frame { GetProfileRequest } }
        GetProfileStreamResponse { profile::get_profile_stream_response::Frame { GetProfileResponse } }
    } proto::call::v1
}
