"""METEOR 1.5 for English, as the Java program scores: words, stems, synonyms, paraphrases, and their alignment."""
