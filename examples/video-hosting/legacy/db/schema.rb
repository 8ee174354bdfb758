# frozen_string_literal: true

# The tables of the old model, as Rails makes them: its own ids, timestamps, counter caches and a lock version, which
# the change file says nothing about; and a queue of jobs, which is none of the change's business.
ActiveRecord::Schema.define(version: 2026_11_01_000000) do
  create_table :users do |t|
    t.string :name, null: false
    t.string :company
    t.integer :videos_count, null: false, default: 0
    t.timestamps default: -> { "CURRENT_TIMESTAMP" }
  end

  create_table :videos do |t|
    t.references :user, null: false, foreign_key: true
    t.string :title, null: false
    t.integer :charges_count, null: false, default: 0
    t.integer :lock_version, null: false, default: 0
    t.timestamps default: -> { "CURRENT_TIMESTAMP" }
  end

  create_table :periods, id: false do |t|
    t.string :period, null: false, primary_key: true
    t.boolean :closed, null: false, default: false
  end

  create_table :charges do |t|
    t.references :user, null: false, foreign_key: true
    t.references :video, null: false, foreign_key: true
    t.string :period, null: false
    t.string :currency, null: false, limit: 3
    t.bigint :amount_minor, null: false
    t.references :reverses, foreign_key: { to_table: :charges }
    t.datetime :created_at, null: false, default: -> { "CURRENT_TIMESTAMP" }
    t.index :period
  end

  create_table :jobs do |t|
    t.string :name, null: false
    t.text :payload, null: false
    t.integer :attempts, null: false, default: 0
    t.string :taken_by
    t.string :error
  end
end
