"""The Streamlit app: counts of every stage and the galleries, read from the public views alone."""
