use super::*;

const ATTACK: &str = "<script>alert('1')</script>\" onfocus=\"x";

fn chrome() -> Chrome {
    Chrome {
        title: ATTACK.into(),
        query: ATTACK.into(),
        usage: ATTACK.into(),
    }
}

fn row() -> Row {
    Row {
        id: 1,
        kind: "folder",
        name: ATTACK.into(),
        href: "/".into(),
        size: ATTACK.into(),
        changed: ATTACK.into(),
        changed_text: ATTACK.into(),
        author: ATTACK.into(),
        versions: ATTACK.into(),
    }
}

fn crumb() -> Crumb {
    Crumb {
        name: ATTACK.into(),
        href: "/".into(),
    }
}

fn places() -> Vec<FolderPlace> {
    vec![FolderPlace {
        id: 1,
        place: ATTACK.into(),
        here: true,
    }]
}

#[test]
fn what_people_typed_is_escaped_in_every_place() {
    let pages = [
        FailurePage {
            title: ATTACK,
            detail: ATTACK.into(),
        }
        .render(),
        FolderPage {
            chrome: chrome(),
            id: 2,
            name: ATTACK.into(),
            is_root: false,
            crumbs: vec![crumb()],
            rows: vec![row()],
            folders: places(),
            may_write: true,
        }
        .render(),
        DocumentPage {
            chrome: chrome(),
            id: 2,
            name: ATTACK.into(),
            kind: ATTACK.into(),
            size: ATTACK.into(),
            shown: true,
            crumbs: vec![crumb()],
            versions: vec![VersionRow {
                number: 1,
                newest: false,
                size: ATTACK.into(),
                when: ATTACK.into(),
                when_text: ATTACK.into(),
                author: ATTACK.into(),
            }],
            history: vec![EventRow {
                when: ATTACK.into(),
                when_text: ATTACK.into(),
                who: ATTACK.into(),
                what: ATTACK.into(),
                detail: ATTACK.into(),
            }],
            folders: places(),
            may_write: true,
        }
        .render(),
        SearchPage {
            chrome: chrome(),
            hits: vec![HitRow {
                kind: "document",
                name: ATTACK.into(),
                href: "/".into(),
                folder: ATTACK.into(),
                excerpt: vec![Piece {
                    text: ATTACK.into(),
                    found: true,
                }],
            }],
        }
        .render(),
        TrashPage {
            chrome: chrome(),
            rows: vec![row()],
            may_write: true,
        }
        .render(),
    ];
    for page in pages {
        let page = page.unwrap();
        assert!(
            page.contains("&#60;script&#62;") || page.contains("&lt;script&gt;"),
            "{page}"
        );
        assert!(
            !page.contains("<script>") && !page.contains("\" onfocus"),
            "{page}"
        );
    }
}

#[test]
fn times_are_told_for_programs_and_for_people() {
    let (machine, human) = times(1_795_462_923_456);
    assert_eq!(machine, "2026-11-23T19:42:03Z");
    assert_eq!(human, "2026-11-23 19:42 UTC");
}
