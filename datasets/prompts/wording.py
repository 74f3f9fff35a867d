"""What is said in each recording: the words, where they are known for certain, else nothing.

A transcript that cannot be trusted to the word makes false negatives. So whatever is unsure is
unknown, and such a clip is kept out of the search split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache

# Tones, screams and silence.
_NO_SPEECH = re.compile(r"(silence/.*|(ascending|descending)-2tone|beep|beeperr|confbridge-(join|leave)|tt-monkeys)")
# Interjections, snores and laughter; what the file name says is what the player did, not what is heard.
_NO_WORDS = re.compile(r"robin_(heu|wouah|quoi|j-.*|je-.*)")
# Of the prompts that two packages share by id, those whose wording leaves no choice: numbers, dates, letters.
_SHARED = re.compile(
    r"digits/(\d+|h-\d+|h-(hundred|thousand|million)|hundred|thousand|million|minus|mon-\d+|day-\d"
    r"|today|tomorrow|yesterday)|letters/[a-z]"
)
# Protocol names, spelt or read in English as the speaker liked.
_SPELT = re.compile(r"spy-.*|digits/[ap]-m")
# Letters whose name is several words, or differs between countries: w is "double v", "vu doppia", "uve doble".
_LETTER = re.compile(r"(.*\s)?[jkwxyzñ]\W*", re.IGNORECASE)
_DIGIT = re.compile(r"(?<![\w.,])\d(?![\w]|[.,]\d)")
# Two entries of a script that ran together: the second begins with its id.
_NEXT_ENTRY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+: ")
_UNSURE = re.compile(r"[\d\[\]()<>*#+=$€£¥%@&/\ufffd]")

_DIGITS = {
    "fr": "zéro un deux trois quatre cinq six sept huit neuf",
    "it": "zero uno due tre quattro cinque sei sette otto nove",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve",
}

# The accents that file names leave out, and the spaces.
_FILE_NAMES = {
    "fr": {
        "allumees": "allumées",
        "ane": "âne",
        "barriere": "barrière",
        "baton": "bâton",
        "charette": "charrette",
        "cle": "clé",
        "cloture": "clôture",
        "comete": "comète",
        "depannage": "dépannage",
        "echelle": "échelle",
        "ecole": "école",
        "elephant": "éléphant",
        "etoile": "étoile",
        "fleche": "flèche",
        "fleches": "flèches",
        "frere": "frère",
        "fumee": "fumée",
        "fusee": "fusée",
        "garcon": "garçon",
        "hotel": "hôtel",
        "mecanicien": "mécanicien",
        "noel": "noël",
        "pecheur": "pêcheur",
        "planete": "planète",
        "recherche": "recherché",
        "sorciere": "sorcière",
        "tete": "tête",
    },
    "it": {"occhialidasole": "occhiali da sole"},
    "es": {"gafasdesol": "gafas de sol"},
}

# French homophones that differ by more than silent letters, among the words of these recordings.
_HOMOPHONES = {
    "fr": "sept=cette,cet cent=sans,sang,sens,sent vingt=vin,vint,vain août=ou,où,houx dièse= mille=mil "
    "mars= point=poing hier= pain=pin signe=cygne renne=reine,rêne verre=ver,vers,vert feu= chaîne=chêne "
    "cœur=chœur encre=ancre balle=bal canne=cane selle=sel,celle poêle=poil mère=mer,maire père=paire "
    "patte=pâte tache=tâche seau=sot,saut,sceau puits=puis terre=taire roue=roux",
}

# Words that are grammar: heard everywhere, looked for by nobody ("plus" also has two pronunciations).
_FUNCTION_WORDS = frozenset({"pour", "avec", "votre", "plus", "para"})


Words = tuple[str, ...]
"""What is said; () when it is not known."""

UNKNOWN: Words = ()


def is_speech(clip: str) -> bool:
    """Whether somebody speaks in the prompt of that id."""
    return not _NO_SPEECH.fullmatch(clip)


def of_script(clip: str, script: Mapping[str, str], language: str) -> Words:
    """The wording of a prompt from the text that its speaker read out."""
    text = script.get(clip.casefold(), "")
    return UNKNOWN if _SPELT.fullmatch(clip) else of_text(text, language)


def of_shared_id(clip: str, script: Mapping[str, str], language: str) -> Words:
    """The wording of a prompt from another speaker's text under the same id, where it leaves no choice."""
    return of_script(clip, script, language) if _SHARED.fullmatch(clip) else UNKNOWN


def of_stamp(description: bytes, language: str) -> Words:
    """The wording of a stamp's recording from the text file beside it."""
    for line in description.decode("utf-8", errors="replace").splitlines():
        if line.startswith(f"{language}.utf8="):
            return of_text(line.partition("=")[2], language)
    return UNKNOWN


def of_file_name(clip: str, language: str) -> Words:
    """The wording of a recording from its file name: ``tv_camion-de-pompier`` says "camion de pompier"."""
    if _NO_WORDS.fullmatch(clip):
        return UNKNOWN
    words = clip.rpartition("_")[2].split("-")
    return of_text(" ".join(_FILE_NAMES[language].get(word, word) for word in words), language)


def of_text(text: str, language: str) -> Words:
    """The words of a text, normalised: NFC, case-folded, elisions and compounds split, digits in full.

    Unknown where the text holds anything that can be read in several ways: larger numbers, symbols,
    brackets, letters with long names. Spanish loses its accents (and ñ), as one of the scripts does.
    """
    text = _NEXT_ENTRY.split(text)[0]
    digits = _DIGITS[language].split()
    text = _DIGIT.sub(lambda match: digits[int(match.group())], text)
    if _UNSURE.search(text) or _LETTER.fullmatch(text):
        return UNKNOWN
    text = unicodedata.normalize("NFC", text).casefold().replace("œ", "oe").replace("æ", "ae")
    if language == "es":
        text = unaccented(text)
    # In French "aujourd'hui" is one word, "l'eau" is two.
    return tuple(re.findall(r"aujourd['’]hui|[^\W_]+", text))


def read_script(text: str) -> dict[str, str]:
    """Prompt id (case-folded) → text, of a script with lines ``id: text``. The first of two equal ids counts."""
    script: dict[str, str] = {}
    for line in text.splitlines():
        clip, colon, said = line.partition(":")
        if colon and not line.startswith(";"):
            script.setdefault(clip.strip().casefold(), said.strip())
    return script


def may_be_keyword(said: Words, min_letters: int) -> bool:
    """Whether a clip is one word of content, of at least that many letters."""
    return len(said) == 1 and len(said[0]) >= min_letters and said[0] not in _FUNCTION_WORDS


def may_be_heard(keyword: str, said: Words, language: str) -> bool:
    """Whether a keyword could be heard in words of which it is none.

    True when one of them contains it (serpent in serpents, cinco in veinticinco), is spelt alike
    but for accents, or sounds alike.
    """
    plain = unaccented(keyword)
    homophones = _homophones(language).get(keyword, ())
    return any(
        plain in unaccented(word) or word in homophones or _sound(word, language) == _sound(keyword, language)
        for word in said
    )


@cache
def unaccented(text: str) -> str:
    """The text without its combining marks, so also without the tilde of ñ."""
    return "".join(char for char in unicodedata.normalize("NFD", text) if not unicodedata.combining(char))


@cache
def _sound(word: str, language: str) -> str:
    """A rough spelling of how a word sounds; it may take different words for the same, which costs a trial."""
    word = unaccented(word)
    if language == "fr":
        word = re.sub(r"(ees|ee|es|er|ez|e)$", "e", word)
        stem = word.rstrip("estxdp")  # silent at the end of a word
        return stem if len(stem) >= 3 else word
    if language == "es":
        word = re.sub(r"(?<!c)h", "", word).replace("v", "b").replace("ll", "y").replace("z", "s")
        return re.sub(r"c(?=[ei])", "s", word)
    return re.sub(r"(?<![cg])h", "", word)


@cache
def _homophones(language: str) -> dict[str, tuple[str, ...]]:
    groups = [entry.partition("=") for entry in _HOMOPHONES.get(language, "").split()]
    both: dict[str, tuple[str, ...]] = {}
    for word, _, others in groups:
        sounds = (word.replace("œ", "oe"), *(other.replace("œ", "oe") for other in others.split(",")))
        for sound in sounds:
            both[sound] = tuple(other for other in sounds if other != sound)
    return both
