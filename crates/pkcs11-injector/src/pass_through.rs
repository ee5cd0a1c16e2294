//! The functions that are put in the place of the real ones.
//!
//! Only those are here that take a part in unwrapping a key; all others are the real module's own.

#![allow(non_snake_case, reason = "the names of the standard")]

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use cryptoki_sys::*;

use crate::real;
use crate::rules::{Orders, orders};

/// The table with our functions in it.
pub(crate) fn table(real: &CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
    CK_FUNCTION_LIST {
        C_Initialize: Some(C_Initialize),
        C_Finalize: Some(C_Finalize),
        C_GetSlotList: Some(C_GetSlotList),
        C_GetTokenInfo: Some(C_GetTokenInfo),
        C_OpenSession: Some(C_OpenSession),
        C_CloseSession: Some(C_CloseSession),
        C_Login: Some(C_Login),
        C_CreateObject: Some(C_CreateObject),
        C_DestroyObject: Some(C_DestroyObject),
        C_GetAttributeValue: Some(C_GetAttributeValue),
        C_FindObjectsInit: Some(C_FindObjectsInit),
        C_FindObjects: Some(C_FindObjects),
        C_FindObjectsFinal: Some(C_FindObjectsFinal),
        C_EncryptInit: Some(C_EncryptInit),
        C_Encrypt: Some(C_Encrypt),
        C_DecryptInit: Some(C_DecryptInit),
        C_Decrypt: Some(C_Decrypt),
        C_GenerateKey: Some(C_GenerateKey),
        C_WrapKey: Some(C_WrapKey),
        C_UnwrapKey: Some(C_UnwrapKey),
        ..*real
    }
}

/// Obeys the rules for a call: an answer to give at once, or what is to be done around it.
fn begin(function: &str) -> Result<Orders, CK_RV> {
    if let Some(log) = std::env::var_os("PKCS11_INJECTOR_LOG") {
        let mut log = OpenOptions::new().create(true).append(true).open(log).expect("the log can be written");
        // One write, so that the lines of threads do not mix.
        log.write_all(format!("{function}\n").as_bytes()).expect("the log can be written");
    }
    let text = std::env::var_os("PKCS11_INJECTOR_RULES").map_or_else(String::new, |path| {
        // A file that is not there has no rules in it.
        std::fs::read_to_string(path).unwrap_or_default()
    });
    let orders = orders(&text, function);
    if orders.delay_ms > 0 {
        std::thread::sleep(Duration::from_millis(orders.delay_ms));
    }
    match orders.fail {
        Some(code) => Err(code),
        None => Ok(orders),
    }
}

/// Passes a call on. `$orders` is in scope for what is done after it.
macro_rules! pass {
    ($orders:ident, $name:ident($($argument:expr),*)) => {
        pass!($orders, $name($($argument),*), _code => {})
    };
    ($orders:ident, $name:ident($($argument:expr),*), $code:ident => $after:block) => {{
        let $orders = match begin(stringify!($name)) {
            Ok(orders) => orders,
            Err(code) => return code,
        };
        let function = real().$name.expect("the real module has this function");
        // SAFETY: the arguments are the caller's own, passed on as they are.
        let $code = unsafe { function($($argument),*) };
        if $code == CKR_OK $after
        let _ = &$orders;
        $code
    }};
}

/// As [`pass!`], with the mechanism that the rules put in the place of the one that was asked for.
macro_rules! pass_mechanism {
    ($name:ident($session:expr, $mechanism:expr $(, $argument:expr)*), $orders:ident => $after:block) => {{
        let $orders = match begin(stringify!($name)) {
            Ok(orders) => orders,
            Err(code) => return code,
        };
        // SAFETY: the caller of a function of the standard gives a mechanism.
        let mut mechanism = unsafe { *$mechanism };
        if $orders.hidden.contains(&mechanism.mechanism) {
            return CKR_MECHANISM_INVALID;
        }
        if let Some((_, to)) = $orders.aliases.iter().find(|(from, _)| *from == mechanism.mechanism) {
            mechanism.mechanism = *to;
        }
        let function = real().$name.expect("the real module has this function");
        // SAFETY: the arguments are the caller's own, but for the copy of the mechanism, which lives through the call.
        let code = unsafe { function($session, &raw mut mechanism $(, $argument)*) };
        if code == CKR_OK $after
        code
    }};
}

/// Replaces a length that the real module gave.
fn lengthen(orders: &Orders, length: *mut CK_ULONG) {
    if let Some(other) = orders.length {
        // SAFETY: the function that wrote there a moment ago says that it may be written to.
        unsafe { *length = other };
    }
}

/// The value of an attribute of a template.
fn value_of<'a>(
    template: *const CK_ATTRIBUTE,
    count: CK_ULONG,
    wanted: CK_ATTRIBUTE_TYPE,
) -> Option<&'a [u8]> {
    // SAFETY: the caller of a function of the standard gives a template of this many entries.
    let entries = unsafe { std::slice::from_raw_parts(template, usize::try_from(count).expect("a count")) };
    let found = entries.iter().find(|entry| entry.type_ == wanted)?;
    let len = usize::try_from(found.ulValueLen).expect("a length");
    // SAFETY: an entry of a template that is given points to as many bytes as it says.
    Some(unsafe { std::slice::from_raw_parts(found.pValue.cast::<u8>(), len) })
}

unsafe extern "C" fn C_Initialize(arguments: CK_VOID_PTR) -> CK_RV {
    pass!(orders, C_Initialize(arguments))
}

unsafe extern "C" fn C_Finalize(reserved: CK_VOID_PTR) -> CK_RV {
    pass!(orders, C_Finalize(reserved))
}

unsafe extern "C" fn C_GetSlotList(present: CK_BBOOL, slots: *mut CK_SLOT_ID, count: *mut CK_ULONG) -> CK_RV {
    pass!(orders, C_GetSlotList(present, slots, count), code => { lengthen(&orders, count) })
}

unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    pass!(orders, C_GetTokenInfo(slot, info), code => {
        // SAFETY: the real function has just filled it.
        unsafe { (*info).flags |= orders.flags };
    })
}

unsafe extern "C" fn C_OpenSession(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: CK_VOID_PTR,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    pass!(orders, C_OpenSession(slot, flags, application, notify, session))
}

unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    pass!(orders, C_CloseSession(session))
}

unsafe extern "C" fn C_Login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    len: CK_ULONG,
) -> CK_RV {
    pass!(orders, C_Login(session, user, pin, len))
}

unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let orders = match begin("C_CreateObject") {
        Ok(orders) => orders,
        Err(code) => return code,
    };
    let is_aes = value_of(template, count, CKA_KEY_TYPE).is_some_and(|kind| kind == CKK_AES.to_ne_bytes());
    if orders.no_import && is_aes {
        return CKR_TEMPLATE_INCONSISTENT;
    }
    let len = value_of(template, count, CKA_VALUE).map_or(0, |value| value.len() as u64);
    if orders.max_value.is_some_and(|most| len > most) {
        return CKR_ATTRIBUTE_VALUE_INVALID;
    }
    let function = real().C_CreateObject.expect("the real module has this function");
    // SAFETY: the arguments are the caller's own, passed on as they are.
    unsafe { function(session, template, count, object) }
}

unsafe extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    pass!(orders, C_DestroyObject(session, object))
}

unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    pass!(orders, C_GetAttributeValue(session, object, template, count), code => {
        // Of secrets only: labels and types are not what is tested.
        // SAFETY: the caller gave at least one entry, which the real function has just filled.
        if unsafe { (*template).type_ } == CKA_VALUE {
            // SAFETY: as above.
            lengthen(&orders, unsafe { &raw mut (*template).ulValueLen });
        }
    })
}

unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    pass!(orders, C_FindObjectsInit(session, template, count))
}

unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: *mut CK_OBJECT_HANDLE,
    room: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    pass!(orders, C_FindObjects(session, objects, room, count), code => { lengthen(&orders, count) })
}

unsafe extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    pass!(orders, C_FindObjectsFinal(session))
}

unsafe extern "C" fn C_EncryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    pass_mechanism!(C_EncryptInit(session, mechanism, key), orders => {})
}

unsafe extern "C" fn C_Encrypt(
    session: CK_SESSION_HANDLE,
    plain: *mut CK_BYTE,
    plain_len: CK_ULONG,
    sealed: *mut CK_BYTE,
    sealed_len: *mut CK_ULONG,
) -> CK_RV {
    pass!(orders, C_Encrypt(session, plain, plain_len, sealed, sealed_len), code => {
        lengthen(&orders, sealed_len)
    })
}

unsafe extern "C" fn C_DecryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    pass_mechanism!(C_DecryptInit(session, mechanism, key), orders => {})
}

unsafe extern "C" fn C_Decrypt(
    session: CK_SESSION_HANDLE,
    sealed: *mut CK_BYTE,
    sealed_len: CK_ULONG,
    plain: *mut CK_BYTE,
    plain_len: *mut CK_ULONG,
) -> CK_RV {
    pass!(orders, C_Decrypt(session, sealed, sealed_len, plain, plain_len), code => {
        lengthen(&orders, plain_len)
    })
}

unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    pass_mechanism!(C_GenerateKey(session, mechanism, template, count, object), orders => {})
}

unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    wrapping_key: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    wrapped_len: *mut CK_ULONG,
) -> CK_RV {
    pass_mechanism!(C_WrapKey(session, mechanism, wrapping_key, key, wrapped, wrapped_len), orders => {
        lengthen(&orders, wrapped_len)
    })
}

#[allow(clippy::too_many_arguments, reason = "the standard's")]
unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    unwrapping_key: CK_OBJECT_HANDLE,
    wrapped: *mut CK_BYTE,
    wrapped_len: CK_ULONG,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    pass_mechanism!(
        C_UnwrapKey(session, mechanism, unwrapping_key, wrapped, wrapped_len, template, count, object),
        orders => {}
    )
}
