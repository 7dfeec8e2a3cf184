r"""Kinds of tokens in English text, as Stanford's PTBTokenizer 3.4.1 tells them apart.

What counts as a word, an abbreviation, a web address is a fact of that tokenizer (CoreNLP 3.4.1 of 2014-08-27), kept
with its quirks because published caption scores depend on them: the initial in "z. The" loses its period, that in
"z. Who" keeps it. These rules were walked side by side with the tokenizer's own transition tables, over all pairs of
states that a text can reach: they accept the same texts as the same kinds of tokens. One kind is left out: whether
"Inc." also ends a sentence shows in a second period only, which is dropped as punctuation.

Characters are UTF-16 code units: what lies beyond U+FFFF is seen as two surrogates.
"""

from __future__ import annotations

import unicodedata

from metrics.tokenizers.expressions import Grammar
from metrics.tokenizers.lexer import Rule

# Letters and digits that Unicode assigned after version 6, and gaps beside them that later versions may fill.
_AFTER_UNICODE_6 = """
037F-0383 0528-0530 0560 0588 05EB-05EF 085F-0887 0889-088F 08A1 08AD-08C9 0978 0980 09FC 0AF2-0AF9 0C34 0C5A-0C5F
0C80 0CD7-0CDD 0D04 0D50-0D56 0D5F 0DE0-0DF1 0E85-0E86 0E89 0E8B-0E8C 0E8E-0E93 0E98 0EA0 0EA8-0EA9 0EAC 13F5-13FF
16F1-16FF 170D 1716-171F 1878-187F 191D-191F 19AC-19C0 19C8-19CF 1B4C-1B4F 1C80-1CBF 1CF2-1CF3 1CFA-1CFF 2C2F 2C5F
312E-3130 31BB-31BF 4DB6-4DBF 9FCD-9FFF A698-A69D A78F A794-A79F A7AB-A7F7 A8FD-A8FE A9E0-A9E4 A9E6-A9FF AA7E-AA7F
AB2F-AB5A AB5C-AB69 AB6C-ABBF
"""


def _code_points(ranges: str) -> frozenset[str]:
    """Characters of hexadecimal ranges separated by white space."""
    pairs = [(low, high or low) for low, _, high in (part.partition("-") for part in ranges.split())]
    return frozenset(chr(code) for low, high in pairs for code in range(int(low, 16), int(high, 16) + 1))


_LATER = _code_points(_AFTER_UNICODE_6)
_MONGOLIAN_BALUDA = "\u1885\u1886"
"""Letters until Unicode 9, marks since."""


def _is_letter(char: str) -> bool:
    return (unicodedata.category(char)[0] == "L" and char not in _LATER) or char in _MONGOLIAN_BALUDA


def _is_digit(char: str) -> bool:
    return unicodedata.category(char) == "Nd" and char not in _LATER


def _is_inside_line(char: str) -> bool:
    return char not in "\n\r\v\f\x85\u2028\u2029"


def _any(words: str) -> str:
    """Expression for one of several words."""
    return "(" + "|".join(words.split()) + ")"


_LETTER_LIKE = (
    r"\u00AD\u0237-\u024F\u02C2-\u02C5\u02D2-\u02DF\u02E5-\u037D\u0384\u0385\u03CF\u03F6\u03FC-\u03FF\u0483-\u0487\u04CF"
    r"\u04F6-\u04FF\u0510-\u0525\u055A-\u055F\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0615-\u061A\u063B-\u063F"
    r"\u064B-\u065E\u0670\u06D6-\u06EF\u06FA-\u06FF\u070F\u0711\u0730-\u077F\u07A6-\u07B1\u07CA-\u07F5\u07FA\u0900-\u0903"
    r"\u093C\u093E-\u094E\u0951-\u0955\u0962\u0963\u0981-\u0983\u09BC-\u09C4\u09C7\u09C8\u09CB-\u09CD\u09D7\u09E2\u09E3"
    r"\u0A01-\u0A03\u0A3C\u0A3E-\u0A4F\u0A81-\u0A83\u0ABC-\u0ACF\u0B82\u0BBE-\u0BC2\u0BC6-\u0BC8\u0BCA-\u0BCD\u0C01-\u0C03"
    r"\u0C3E-\u0C56\u0D3E-\u0D44\u0D46-\u0D48\u0E30-\u0E3A\u0E47-\u0E4E\u0EB1-\u0EBC\u0EC8-\u0ECD"
)
"""Soft hyphen, and marks that stand inside words of several scripts."""

_SYMBOLS = (
    r"+%&~\^|\\\u00A6-\u00A9\u00AC\u00AE-\u00BA\u00D7\u00F7\u0387\u05BE\u05C0\u05C3\u05C6\u05F3\u05F4\u0600-\u0603"
    r"\u0606-\u060A\u060C\u0614\u061B\u061E\u066A\u066D\u0703-\u070D\u07F6-\u07F8\u0964\u0965\u0E4F\u1FBD\u2016\u2017"
    r"\u2020-\u2023\u2030-\u2038\u203B\u203E-\u2042\u2044\u207A-\u207F\u208A-\u208E\u2100-\u214F\u2190-\u2BFF\u3012\u30FB"
    r"\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65"
)
"""Mathematical and other signs that stand alone."""

_WEB_SPACE = r" \u0009\u000A\u000C\u000D\"<>|"
"""What ends a web or mail address."""

PARTS = {
    # Characters
    "SPACE": r"[ \u0009\u00A0\u2000-\u200A\u3000]",
    "NEWLINE": r"\u000D|\u000D?\u000A|\u2028|\u2029|\u000B|\u000C|\u0085",
    "BLANK": r"({SPACE}|{NEWLINE})",
    "NUMERAL": r"({DIGIT}|[\u07C0-\u07C9])",
    "ALNUM": r"({LETTER}|{DIGIT})",
    "ACCENTED": r"&[aeiouAEIOU](acute|grave|uml);",
    "WORD_CHAR": rf"({{LETTER}}|{{ACCENTED}}|[{_LETTER_LIKE}])",
    "APOSTROPHE": r"(['\u0092\u2019]|&apos;)",
    "ANY_APOSTROPHE": r"({APOSTROPHE}|[`\u0091\u2018\u201B])",
    "PAUSE": r"[,;:\u3001]",
    "AMP": r"&amp;",
    # Mark-up and addresses
    "NAME": r"[A-Za-z][A-Za-z0-9_:.-]*",
    "ATTRIBUTE": r"{NAME}( *= *('[^']*'|\"[^\"]*\"))?",
    "TAG": r"<([!?][A-Za-z-][^>\u000D\u000A]*|{NAME}( +{ATTRIBUTE})* */?|/{NAME}) *>",
    "PATH": rf"/[^{_WEB_SPACE}()]+[^{_WEB_SPACE}.!?(){{}},-]",
    "URL": rf"https?://[^{_WEB_SPACE}(){{}}]+[^{_WEB_SPACE}.!?(){{}},-]",
    "WWW_HOST": rf"www\.([^{_WEB_SPACE}.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}",
    # The range from "," to "_" was surely meant as three characters; it excludes capitals and digits from such hosts.
    "HOST": rf"([^{_WEB_SPACE}`'.!?(){{}},-_$]+\.)+(com|net|org|edu)",
    "BARE_URL": r"({WWW_HOST}|{HOST}){PATH}?",
    "MAIL_HOST": rf"([^{_WEB_SPACE}(){{}}.\u00A0]+\.)*[^{_WEB_SPACE}(){{}}.\u00A0]+",
    "MAIL": rf"(&lt;|<)?[a-zA-Z0-9][^{_WEB_SPACE}(){{}}\u00A0]*@{{MAIL_HOST}}(&gt;|>)?",
    "FILE": r"({WORD_CHAR}|{NUMERAL})+(\.({WORD_CHAR}|{NUMERAL})+)*\."
    + _any(
        "bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py "
        "sql tar txt wav x xml zip"
    ),
    # Numbers
    "NUMBER": r"({NUMERAL}+|{NUMERAL}*([.:,\u00AD\u066B\u066C]{NUMERAL}+)+)",
    "DATE": r"{NUMERAL}{1,2}[-/]{NUMERAL}{1,2}[-/]{NUMERAL}{2,4}",
    "FRACTION": r"({NUMERAL}{1,4}[- \u00A0])?{NUMERAL}{1,4}(\\?/|\u2044){NUMERAL}{1,4}",
    "RAISED": r"[\u207A\u207B\u208A\u208B]?([\u2070\u00B9\u00B2\u00B3\u2074-\u2079]+|[\u2080-\u2089]+)",
    "AREA_CODE": r"(\([0-9]{2,3}\)[ \u00A0]?|(\+\+?)?([0-9]{2,4}[- \u00A0])?[0-9]{2,4}[- \u00A0])",
    "PHONE": r"{AREA_CODE}[0-9]{3,4}[- \u00A0]?[0-9]{3,5}|((\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
    # Words
    "US": r"(Canada|Sino|Korean|EU|Japan|non)-U\.S|U\.S\.-(U\.K|U\.S\.S\.R)",
    "ACRONYM": r"([A-Za-z](\.[A-Za-z])*|{US})",
    "LONG_ACRONYM": r"([A-Za-z](\.[A-Za-z])+|{US})",
    "WORD": r"{WORD_CHAR}({WORD_CHAR}|{NUMERAL})*([.!?]{WORD_CHAR}({WORD_CHAR}|{NUMERAL})*)*",
    "CLITIC": r"{APOSTROPHE}([msdMSD]|re|ve|ll)",
    "BEFORE_NOT": r"[A-Za-z\u00AD]*[A-MO-Za-mo-z]\u00AD*",
    "NOT": r"n{ANY_APOSTROPHE}t",
    "ELIDED": r"[dDoOlL]{ANY_APOSTROPHE}{ALNUM}",
    "HYPHENATED": r"{ELIDED}?{ALNUM}+([-_\u058A\u2010\u2011]{ELIDED}?{ALNUM}+)*",
    "HYPHENATED_NUMBER": r"[A-Za-z0-9][A-Za-z0-9.,\u00AD]*(-([A-Za-z0-9\u00AD]+|{LONG_ACRONYM}\.))+",
    "SLASHED": r"[A-Za-z0-9]+(-[A-Za-z]+){0,2}(\\?/[A-Za-z0-9]+(-[A-Za-z]+){0,2}){1,2}",
    "JOINED": r"[A-Z]+(([+&]|{AMP})[A-Z]+)+",
    "WITH_APOSTROPHE": r"{APOSTROPHE}n{APOSTROPHE}?|([lLdDjJ]|Dunkin|somethin|ol){APOSTROPHE}"
    r"|{APOSTROPHE}(em|[2-9]0s|till?|cause)|[A-HJ-XZn]{ANY_APOSTROPHE}{LETTER}{2}{LETTER}*"
    r"|{LETTER}+[aeiouyAEIOUY]{ANY_APOSTROPHE}[aeiouA-Z]{LETTER}*"
    r"|cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l|O{ANY_APOSTROPHE}o",
    "TREEBANK": r"-(R|L)(R|C|S)B-|C\.D\.s|pro-|anti-|S(&|{AMP})(P-500|Ls)|Cap{APOSTROPHE}n|c{APOSTROPHE}est",
    # Abbreviations
    "BEFORE_LOWER": _any(
        "Jan Feb Mar Apr Jun Jul Aug Sept? Oct Nov Dec Mon Tues? Wed Thu Thurs Fri Ala Ariz [A]z [A]rk Calif Colo Conn "
        "Ct Dak [D]el Fla Ga [I]ll Ind Kans? Ky [L]a [M]ass Md Mich Minn [M]iss Mo Mont Neb Nev Okla [O]re [P]a Penn "
        "Tenn [T]ex Va Vt [W]ash Wisc? Wyo Inc Cos? Corp Pp?t[ye]s? Ltd Plc Rt Bancorp Bhd Assn Univ Intl Sys tel est "
        r"ext sq Jr Sr Bros (Ed|Ph)\.D Blvd Rd Esq etc al seq Bldg"
    ),
    "BEFORE_UPPER": _any(
        "Mr Mrs Ms [M]iss Drs? Profs? Sens? Reps? Attys? Lt Col Gen Messrs Govs? Adm Rev Maj Sgt Cpl Pvt Capt Ste? Ave "
        "Pres Lieut Hon Brig Co?mdr Pfc Spc Supts? Det Mt Ft Adj Adv Asst Assoc Ens Insp Mlle Mme Msgr Sfc vs [v] Alex "
        r"Wm Jos Cie a\.k\.a cf TREAS Ph Invt Elec Natl M[ft]g Dept {ACRONYM}"
    ),
    "BEFORE_NUMBER": r"(ca|figs?|prop|nos?|art|bldg|pp|op)",
    "SENTENCE_WORD": _any(
        "[A]bout [A]ccording [A]dditionally [A]fter [A]n [A] [A]s [A]t [B]ut [E]arlier [H]e [H]er [H]ere [H]owever "
        r"[I]f [I]n [I]t [L]ast [M]any [M]ore [M]r\. [M]s\. [N]ow [O]nce [O]ne [O]ther [O]ur [S]he [S]ince [S]o [S]ome "
        "[S]uch [T]hat [T]he [T]heir [T]hen [T]here [T]hese [T]hey [T]his [W]e [W]hen [W]hile [W]hat [Y]et [Y]ou {TAG}"
    ),
    # Signs
    "QUOTE": r"{APOSTROPHE}|''|[`\u2018-\u201F\u0091-\u0094\u2039\u203A\u00AB\u00BB]{1,2}",
    "DOUBLE_QUOTE": r"(\"|&quot;)",
    "SMILEY": r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]",
    # The third sign of the first alternative is an accident of the original's notation.
    "EASTERN_SMILEY": r"[\^x=~<>]\.\[\^x=[^<]*<>\]|[-\^x=~<>']_[-\^x=~<>']|\([-\^x=~<>'][_.]?[-\^x=~<>']\)"
    r"|\([\^x=~<>']-[\^x=~<>'`]\)",
}

GRAMMAR = Grammar(
    PARTS,
    {
        "LETTER": _is_letter,
        "DIGIT": _is_digit,
        "CHAR": lambda char: True,
        "CHAR_IN_LINE": _is_inside_line,
    },
    case_variants={"i": "\u0130\u0131", "k": "\u212a", "s": "\u017f"},
)

RULES = (
    Rule("text", r"c\+\+|[CcFf]#"),
    Rule("split_3", r"cannot|'twas"),
    Rule("split_2", r"'tis|gonna|gotta|lemme|gimme|wanna"),
    Rule("markup", r"{TAG}"),
    Rule("dash", r"&(MD|mdash|ndash);|[\u0096\u0097\u2013-\u2015]"),
    Rule("ampersand", r"{AMP}"),
    Rule("text", r"&(HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);"),
    Rule("word", r"{WORD}", r"{CLITIC}"),
    Rule("word", r"{BEFORE_NOT}", r"{NOT}"),
    Rule("word", r"{WORD}"),
    Rule("text", r"{WITH_APOSTROPHE}"),
    Rule("text", r"y{APOSTROPHE}", r"{LETTER}"),
    Rule("text", r"{URL}"),
    Rule("text", r"{BARE_URL}"),
    Rule("text", r"{MAIL}"),
    Rule("text", r"@[a-zA-Z_][a-zA-Z_0-9]*|#{WORD_CHAR}+"),
    Rule("closing_quote", r"{CLITIC}", r"[^A-Za-z]"),
    Rule("closing_quote", r"{NOT}", r"[^A-Za-z]"),
    Rule("text", r"{DATE}"),
    Rule("word", r"[-+]?{NUMBER}"),
    Rule("text", r"{RAISED}"),
    Rule("markup", r"{FRACTION}"),
    Rule("fraction", r"[\u00BC-\u00BE\u2153-\u215E]"),
    Rule("ampersand", r"{TREEBANK}"),
    Rule("text", r"{SLASHED}"),
    Rule("text", r"[A-Z]*\$|#"),
    Rule("currency", r"[\u0080\u00A2-\u00A5\u060B\u0E3F\u20A0\u20A4\u20AC\uFFE0\uFFE1\uFFE5\uFFE6]"),
    Rule("acronym", r"{ACRONYM}\.", r"{BLANK}+{SENTENCE_WORD}{BLANK}"),
    Rule("text", r"{BEFORE_NUMBER}\.", r"{BLANK}?{DIGIT}"),
    Rule("text", r"(pt[eyEY]|co)\.", r"{SPACE}(ltd|lim)"),
    Rule("text", r"{BEFORE_LOWER}\.", r"{CHAR}{CHAR}"),
    Rule("text", r"{BEFORE_LOWER}\."),
    Rule("text", r"{BEFORE_UPPER}\."),
    Rule("text", r"{BEFORE_UPPER}", r"{SPACE}"),
    Rule("text", r"{ACRONYM}", r"{BLANK}"),
    Rule("text", r"{APOSTROPHE}[0-9]{2}", r"{BLANK}"),
    Rule("text", r"{FILE}", r"{BLANK}|[.?!,]"),
    Rule("word", r"{WORD}\.", r"{PAUSE}"),
    Rule("phone", r"{PHONE}"),
    Rule("opening_quote", r"{DOUBLE_QUOTE}", r"[A-Za-z0-9$]"),
    Rule("closing_quote", r"{DOUBLE_QUOTE}"),
    Rule("skip", r"\u007F"),
    Rule("less", r"<|&lt;"),
    Rule("greater", r">|&gt;"),
    Rule("smiley", r"{SMILEY}", r"[^A-Za-z0-9]"),
    Rule("smiley", r"{EASTERN_SMILEY}"),
    Rule("left_brace", r"\{"),
    Rule("right_brace", r"\}"),
    Rule("left_bracket", r"\["),
    Rule("right_bracket", r"\]"),
    Rule("left_parenthesis", r"\("),
    Rule("right_parenthesis", r"\)"),
    Rule("hyphens", r"-+"),
    Rule("ellipsis", r"\.{3,5}|(\.[ \u00A0]){2,4}\.|[\u0085\u2026]"),
    Rule("text", r"@+|#+|_+|\*+|(\\\*){1,3}|{PAUSE}|[?!]+|=|/"),
    Rule("text", r"[.\u00A1\u00BF\u037E\u0589\u061F\u06D4\u0700-\u0702\u07FA\u3002]"),
    Rule("word", r"{HYPHENATED_NUMBER}\.", r"{PAUSE}"),
    Rule("word", r"{HYPHENATED_NUMBER}"),
    Rule("text", r"{HYPHENATED}\.", r"{PAUSE}"),
    Rule("text", r"{HYPHENATED}"),
    Rule("ampersand", r"{JOINED}\.", r"{PAUSE}"),
    Rule("ampersand", r"{JOINED}"),
    Rule("opening_quote", r"'", r"[A-Za-z][^ \u0009\u000A\u000D\u00A0]"),
    Rule("closing_quote", r"{CLITIC}|{NOT}|{QUOTE}"),
    Rule("text", r"<<|>>"),
    Rule("text", rf"[{_SYMBOLS}]"),
    Rule("skip", r"\u0000|{SPACE}+|[\u200B\u200E\u200F\uFEFF]|{NEWLINE}|&nbsp;|{CHAR_IN_LINE}"),
)
"""By falling precedence. The name says how a token is written: see ``metrics.tokenizers.ptb``."""
