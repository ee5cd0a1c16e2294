//! What the texts, the scripts and the stored corpora of this repository promise, tried out.

mod promises {
    mod corpus;
    mod document;
    mod documents;
    mod program;
    mod sign_script;
}
