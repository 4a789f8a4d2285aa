//! Sessions as they are listed, and all that is held about a user, as protobuf has it.

use proto::auth::v1 as pb;

use super::convert::{encode_client, encode_session, encode_time, encode_user};
use crate::service::Export;
use crate::session_clients::Client;
use crate::sessions::Session;

pub(super) fn encode_listed((session, client): (Session, Option<Client>)) -> pb::ListedSession {
    pb::ListedSession { session: Some(encode_session(&session)), client: client.map(encode_client) }
}

pub(super) fn encode_export(export: Export) -> pb::ExportUserResponse {
    let sign_ins = export.sign_ins.into_iter().map(|sign_in| pb::SignIn {
        session_id: sign_in.session.to_string(),
        at: Some(encode_time(sign_in.at)),
        client: Some(encode_client(sign_in.client)),
    });
    let devices = export.devices.into_iter().map(|device| pb::KnownDevice {
        created_at: Some(encode_time(device.created_at)),
        seen_at: device.seen_at.map(encode_time),
        expires_at: Some(encode_time(device.expires_at)),
    });
    let mails = export.mails.into_iter().map(|mail| pb::PendingMail {
        purpose: mail.purpose,
        email: mail.email,
        sent_at: Some(encode_time(mail.issued_at)),
        expires_at: Some(encode_time(mail.expires_at)),
    });
    pb::ExportUserResponse {
        user: Some(encode_user(export.user)),
        sessions: export.sessions.into_iter().map(encode_listed).collect(),
        sign_ins: sign_ins.collect(),
        devices: devices.collect(),
        mails: mails.collect(),
    }
}
