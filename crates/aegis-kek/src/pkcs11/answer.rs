//! What a PKCS#11 module answered, and what that says about the device.

use std::fmt;

/// What a call gave instead of a result. No answer has any key material in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceAnswer {
    /// A return code that is not `CKR_OK`.
    #[error("{function} answered {code}")]
    Code {
        /// The function.
        function: &'static str,
        /// Its code.
        code: ReturnCode,
    },
    /// A length or a count that cannot be.
    #[error("{function} answered with a length of {found}, where at most {limit} can be")]
    Length {
        /// The function.
        function: &'static str,
        /// What it said.
        found: u64,
        /// The most there can be.
        limit: u64,
    },
    /// `CKR_OK`, and something else than what was asked for.
    #[error("{function} gave {found} bytes instead of {expected}")]
    WrongLength {
        /// The function.
        function: &'static str,
        /// What it gave.
        found: usize,
        /// What it should have given.
        expected: usize,
    },
    /// What it unwrapped is not what it had wrapped.
    #[error("it gave back another value than it had wrapped")]
    OtherValue,
    /// The module has no such function.
    #[error("the module has no {function}")]
    NoFunction {
        /// The function.
        function: &'static str,
    },
    /// The session belongs to a life of the module that has ended: it was started anew, or the process has forked.
    #[error("the module was started anew since the session was opened")]
    SessionOfThePast,
}

/// What an answer says about the device, and so what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The session, the log-in or the device is gone. Connecting anew may help.
    Lost,
    /// No more sessions for now.
    Full,
    /// The device works, and says no.
    Refused,
    /// The device works, and cannot do this.
    Unsuited,
    /// One token says this of a damaged device, another of a damaged wrapping. The check blob tells which.
    Unclear,
}

impl DeviceAnswer {
    pub(super) fn meaning(&self) -> Meaning {
        match self {
            Self::Code { code, .. } => code.meaning(),
            Self::SessionOfThePast => Meaning::Lost,
            Self::NoFunction { .. } => Meaning::Unsuited,
            Self::Length { .. } | Self::WrongLength { .. } | Self::OtherValue => Meaning::Unclear,
        }
    }

    pub(super) fn is(&self, wanted: ReturnCode) -> bool {
        matches!(self, Self::Code { code, .. } if *code == wanted)
    }
}

/// A `CK_RV`. Prints as its name in the standard, if it has one there, and its number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReturnCode(pub u64);

/// The codes that this program tells apart or that operators meet, PKCS#11 3.1 section 5.1 (`pkcs11t.h` for the numbers).
macro_rules! codes {
    ($($name:ident = $number:literal $meaning:ident,)*) => {
        impl ReturnCode {
            $(
                #[doc = concat!("`CKR_", stringify!($name), "`")]
                pub const $name: Self = Self($number);
            )*

            /// The name in the standard.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(concat!("CKR_", stringify!($name))),)*
                    _ => None,
                }
            }

            const fn meaning(self) -> Meaning {
                match self.0 {
                    $($number => Meaning::$meaning,)*
                    // A vendor's own code may say anything.
                    _ => Meaning::Unclear,
                }
            }
        }
    };
}

codes! {
    CANCEL = 0x01 Unclear,
    HOST_MEMORY = 0x02 Lost,
    SLOT_ID_INVALID = 0x03 Lost,
    GENERAL_ERROR = 0x05 Unclear,
    FUNCTION_FAILED = 0x06 Unclear,
    ARGUMENTS_BAD = 0x07 Unsuited,
    ATTRIBUTE_READ_ONLY = 0x10 Unsuited,
    ATTRIBUTE_SENSITIVE = 0x11 Unsuited,
    ATTRIBUTE_TYPE_INVALID = 0x12 Unsuited,
    ATTRIBUTE_VALUE_INVALID = 0x13 Unsuited,
    ACTION_PROHIBITED = 0x1b Refused,
    DATA_INVALID = 0x20 Unclear,
    DATA_LEN_RANGE = 0x21 Unclear,
    DEVICE_ERROR = 0x30 Unclear,
    DEVICE_MEMORY = 0x31 Lost,
    DEVICE_REMOVED = 0x32 Lost,
    ENCRYPTED_DATA_INVALID = 0x40 Unclear,
    ENCRYPTED_DATA_LEN_RANGE = 0x41 Unclear,
    AEAD_DECRYPT_FAILED = 0x42 Unclear,
    FUNCTION_CANCELED = 0x50 Unclear,
    FUNCTION_NOT_SUPPORTED = 0x54 Unsuited,
    KEY_HANDLE_INVALID = 0x60 Lost,
    KEY_SIZE_RANGE = 0x62 Unsuited,
    KEY_TYPE_INCONSISTENT = 0x63 Unsuited,
    KEY_FUNCTION_NOT_PERMITTED = 0x68 Unsuited,
    KEY_NOT_WRAPPABLE = 0x69 Unsuited,
    KEY_UNEXTRACTABLE = 0x6a Unsuited,
    MECHANISM_INVALID = 0x70 Unsuited,
    MECHANISM_PARAM_INVALID = 0x71 Unsuited,
    OBJECT_HANDLE_INVALID = 0x82 Lost,
    OPERATION_ACTIVE = 0x90 Unclear,
    OPERATION_NOT_INITIALIZED = 0x91 Unclear,
    PIN_INCORRECT = 0xa0 Refused,
    PIN_INVALID = 0xa1 Refused,
    PIN_LEN_RANGE = 0xa2 Refused,
    PIN_EXPIRED = 0xa3 Refused,
    PIN_LOCKED = 0xa4 Refused,
    SESSION_CLOSED = 0xb0 Lost,
    SESSION_COUNT = 0xb1 Full,
    SESSION_HANDLE_INVALID = 0xb3 Lost,
    SESSION_READ_ONLY = 0xb5 Refused,
    TEMPLATE_INCOMPLETE = 0xd0 Unsuited,
    TEMPLATE_INCONSISTENT = 0xd1 Unsuited,
    TOKEN_NOT_PRESENT = 0xe0 Lost,
    TOKEN_NOT_RECOGNIZED = 0xe1 Lost,
    TOKEN_WRITE_PROTECTED = 0xe2 Refused,
    UNWRAPPING_KEY_HANDLE_INVALID = 0xf0 Lost,
    UNWRAPPING_KEY_SIZE_RANGE = 0xf1 Unsuited,
    UNWRAPPING_KEY_TYPE_INCONSISTENT = 0xf2 Unsuited,
    USER_ALREADY_LOGGED_IN = 0x100 Refused,
    USER_NOT_LOGGED_IN = 0x101 Lost,
    USER_PIN_NOT_INITIALIZED = 0x102 Refused,
    USER_TYPE_INVALID = 0x103 Refused,
    USER_ANOTHER_ALREADY_LOGGED_IN = 0x104 Refused,
    USER_TOO_MANY_TYPES = 0x105 Refused,
    WRAPPED_KEY_INVALID = 0x110 Unclear,
    WRAPPED_KEY_LEN_RANGE = 0x112 Unclear,
    WRAPPING_KEY_HANDLE_INVALID = 0x113 Lost,
    WRAPPING_KEY_SIZE_RANGE = 0x114 Unsuited,
    WRAPPING_KEY_TYPE_INCONSISTENT = 0x115 Unsuited,
    BUFFER_TOO_SMALL = 0x150 Unclear,
    CRYPTOKI_NOT_INITIALIZED = 0x190 Lost,
    CRYPTOKI_ALREADY_INITIALIZED = 0x191 Unclear,
    TOKEN_RESOURCE_EXCEEDED = 0x201 Lost,
    OPERATION_CANCEL_FAILED = 0x202 Unclear,
    KEY_EXHAUSTED = 0x203 Refused,
    FUNCTION_REJECTED = 0x200 Refused,
}

impl fmt::Display for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({:#x})", self.0),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_codes_as_the_standard_does() {
        let cases = [
            (0x30, "CKR_DEVICE_ERROR (0x30)"),
            (0xa4, "CKR_PIN_LOCKED (0xa4)"),
            (0x110, "CKR_WRAPPED_KEY_INVALID (0x110)"),
            (0x8000_0001, "0x80000001"),
        ];
        for (number, text) in cases {
            assert_eq!(ReturnCode(number).to_string(), text);
        }
    }

    #[test]
    fn what_says_that_a_device_is_gone_is_told_from_what_may_be_a_bad_wrapping() {
        for lost in [0x32, 0xb0, 0xb3, 0xe0, 0x101, 0x60, 0xf0, 0x190] {
            assert_eq!(ReturnCode(lost).meaning(), Meaning::Lost, "{}", ReturnCode(lost));
        }
        // SoftHSM2, kryoptic and NSS for one and the same tampered wrapping, and a vendor's own code.
        for unclear in [0x05, 0x30, 0x110, 0x21, 0x112, 0x40, 0x8000_0001] {
            assert_eq!(ReturnCode(unclear).meaning(), Meaning::Unclear, "{}", ReturnCode(unclear));
        }
        for refused in [0xa0, 0xa4, 0x102] {
            assert_eq!(ReturnCode(refused).meaning(), Meaning::Refused, "{}", ReturnCode(refused));
        }
    }
}
