//! Mails of auth-svc: a token is known as soon as it is asked for.

use proto::auth::v1::request_password_reset_request::Account;
use proto::auth::v1::{
    ConfirmEmailVerificationRequest, ConfirmPasswordResetRequest, RequestEmailVerificationRequest,
    RequestPasswordResetRequest, User,
};
use tonic::{Code, Status};

use crate::services::{State, failure, invalid};

fn token_invalid() -> Status {
    failure(Code::InvalidArgument, "TOKEN_INVALID", "the token is unknown, used or expired")
}

impl State {
    pub fn request_password_reset(&mut self, request: RequestPasswordResetRequest) {
        let is_meant = |user: &User| match request.account.as_ref().unwrap() {
            Account::Username(name) => user.username.eq_ignore_ascii_case(name),
            Account::Email(email) => user.email.as_deref() == Some(email),
        };
        for (user, _) in self.users.values().filter(|(user, _)| is_meant(user)) {
            self.mailed.insert(format!("reset {}", user.username), user.id.clone());
        }
        let (Account::Username(name) | Account::Email(name)) = request.account.unwrap();
        self.asked.push(name);
    }

    pub fn confirm_password_reset(&mut self, request: ConfirmPasswordResetRequest) -> Result<(), Status> {
        if request.new_password.chars().count() < 15 {
            return Err(invalid(&[("new_password", "has to have at least 15 characters")]));
        }
        let user_id = self.mailed.remove(&request.token).ok_or_else(token_invalid)?;
        self.of_id(&user_id).1 = request.new_password;
        self.sessions.retain(|_, owner| *owner != user_id);
        self.note("PASSWORD_RESET", &user_id, String::new(), request.client);
        Ok(())
    }

    pub fn request_email_verification(
        &mut self,
        request: RequestEmailVerificationRequest,
    ) -> Result<(), Status> {
        let (user, _) = self.of_id(&request.user_id);
        if user.email.is_none() {
            return Err(failure(Code::FailedPrecondition, "EMAIL_MISSING", "there is no e-mail address"));
        }
        if user.email_verified {
            return Err(failure(Code::FailedPrecondition, "EMAIL_VERIFIED", "it is verified already"));
        }
        let token = format!("verify {}", user.username);
        self.mailed.insert(token, request.user_id);
        Ok(())
    }

    pub fn confirm_email_verification(
        &mut self,
        request: ConfirmEmailVerificationRequest,
    ) -> Result<(), Status> {
        let user_id = self.mailed.remove(&request.token).ok_or_else(token_invalid)?;
        self.of_id(&user_id).0.email_verified = true;
        self.note("EMAIL_VERIFIED", &user_id, String::new(), request.client);
        Ok(())
    }

    fn of_id(&mut self, id: &str) -> &mut (User, String) {
        self.users.values_mut().find(|(user, _)| user.id == id).unwrap()
    }
}
